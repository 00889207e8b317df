// The page of `flare view`. All that it knows is in `view`; a picture is asked for by sending it whole.
"use strict";

const STILL_AFTER = 200;  // milliseconds without a change
const FIT_EVERY = 2000;  // milliseconds between pictures of a fit that goes on
const AT_ONCE = 0.03;  // seconds: where a picture takes less, the next is asked for before it is here
const UPLOAD_BYTES = 1 << 26;
const FILM = { fps: 25, seconds: 10, turn: 30, turnSeconds: 4, rows: 512 };
const view = {
  weights: [], gaze: [0, 0], turn: [0, 0, 0], driver: "", time: 0,
  mode: "picture", light: "studio", rotate: 0, exposure: 0, background: "blur", beside: false,
};
let units = [];  // ARKit's, in the order of `view.weights`
let mostPixels = 1e6;
const orbit = { target: [0, 0, 0], azimuth: 0, elevation: 0, distance: 1, fov: 25, recorded: false };  // metres, radians

// ---- what is asked of the program

async function ask(name, body) {
  const response = await fetch(name, { method: "POST", body });
  if (response.ok) return response;
  const text = await response.text();
  let told = text;
  try {
    const { error, hint } = JSON.parse(text);
    told = `${error}\n${hint}`;
  } catch { /* a refusal is plain text */ }
  throw Object.assign(new Error(told), { refused: true });
}

function asked(rows) {
  const { clientWidth, clientHeight } = $("stage");
  const ratio = window.devicePixelRatio || 1;
  const shrink = Math.min(1, Math.sqrt(mostPixels / (clientWidth * clientHeight * ratio * ratio)));
  const height = rows ?? Math.max(16, Math.round(clientHeight * ratio * shrink));
  const width = Math.max(16, Math.round((height * clientWidth) / clientHeight));
  const { target, azimuth, elevation, distance, fov } = orbit;
  const across = Math.cos(elevation) * distance;
  const away = [across * Math.sin(azimuth), distance * Math.sin(elevation), across * Math.cos(azimuth)];
  const eye = orbit.recorded ? [] : target.map((number, i) => number + away[i]);
  return { ...view, eye, target, fov, height, width };
}

// ---- pictures: asked for while something changes, small ones first; whole when all is still

let version = 0, shownVersion = -1, shownStill = false, changedAt = 0, asks = 0, shownAsk = 0, running = 0, lastSeconds = 1;
let broken = false, playing = false, playedAt = 0, fit = null, shownAt = 0;
const times = [];

function changed() {
  version++;
  changedAt = performance.now();
  work();
}

function wanted() {
  const now = performance.now();
  if (playing) return { still: false };
  const moving = now - changedAt < STILL_AFTER;
  if (shownVersion !== version) return { still: !moving };
  if (!moving && !shownStill) return { still: true };
  if (fit && !fit.paused && now - shownAt > FIT_EVERY) return { still: false };
  return null;
}

async function work() {
  if (running && !(running === 1 && lastSeconds < AT_ONCE)) return;
  running++;
  try {
    for (let want = wanted(); want && (running === 1 || lastSeconds < AT_ONCE); want = wanted()) await draw(want.still);
    if (broken) say("");
    broken = false;
  } catch (error) {
    broken = true;
    say(error.refused ? error.message : "The program has ended, or can't be reached.");
    if (error.refused) [playing, shownVersion, shownStill] = [false, version, true];
    else await new Promise((done) => setTimeout(done, 1000));
  } finally {
    running--;
  }
}

async function draw(still) {
  const mine = ++asks, at = version;
  if (playing) view.time = (performance.now() - playedAt) / 1000;
  const response = await ask("look", JSON.stringify({ ...asked(), still }));
  const bitmap = await createImageBitmap(await response.blob());
  if (mine < shownAsk) return;
  const told = JSON.parse(response.headers.get("Flare-Look"));
  const canvas = $("picture");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  [shownAsk, shownVersion, shownStill, lastSeconds, shownAt] = [mine, at, still, told.seconds, performance.now()];
  if (playing) place(told.frame);
  if (told.fit) progress(told.fit);
  rate(bitmap, told, still);
}

function rate(bitmap, told, still) {
  const now = performance.now();
  times.push(now);
  while (times[0] < now - 1000) times.shift();
  const drawn = `${bitmap.width} × ${bitmap.height}, drawn in ${Math.round(told.seconds * 1000)} ms`;
  $("rate").textContent = still ? drawn : `${times.length} pictures a second, ${drawn}`;
  Object.assign(document.body.dataset, { drawn: "yes", still: still ? "yes" : "no", shown: shownVersion });
}

// ---- camera

function look({ eye, target, fov }) {
  const away = eye.map((number, i) => number - target[i]);
  orbit.distance = Math.hypot(...away);
  orbit.azimuth = Math.atan2(away[0], away[2]);
  orbit.elevation = Math.asin(away[1] / orbit.distance);
  Object.assign(orbit, { target: [...target], fov, recorded: false });
  byRecording(false);
}

function byRecording(on) {
  orbit.recorded = on;
  $("recorded").setAttribute("aria-pressed", String(on));
  changed();
}

function turn(across, down) {
  orbit.azimuth -= across;
  orbit.elevation = Math.min(Math.max(orbit.elevation + down, -1.5), 1.5);
  byRecording(false);
}

function shift(across, down) {
  const scale = 2 * orbit.distance * Math.tan((orbit.fov * Math.PI) / 360) / $("stage").clientHeight;
  const { azimuth, elevation } = orbit;
  const right = [Math.cos(azimuth), 0, -Math.sin(azimuth)];
  const up = [-Math.sin(azimuth) * Math.sin(elevation), Math.cos(elevation), -Math.cos(azimuth) * Math.sin(elevation)];
  orbit.target = orbit.target.map((number, i) =>
    Math.min(Math.max(number + scale * (down * up[i] - across * right[i]), -5), 5));
  byRecording(false);
}

function dragging(canvas) {
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const { movementX: across, movementY: down } = event;
    if (event.buttons & 2 || event.shiftKey) shift(across, down);
    else turn(across / 150, down / 150);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    orbit.distance = Math.min(Math.max(orbit.distance * Math.exp(event.deltaY / 1000), 0.1), 4);
    byRecording(false);
  }, { passive: false });
}

// ---- performance

let lengths = {};

function place(frame) {
  sliders.time(view.time % lengths[view.driver]);
  document.body.dataset.frame = frame;
}

function play(on) {
  playing = on && view.driver !== "";
  playedAt = performance.now() - view.time * 1000;
  $("play").setAttribute("aria-pressed", String(playing));
  changed();
}

function choose(driver) {
  Object.assign(view, { driver, time: 0 });
  $("driver").value = driver;
  const slider = document.querySelector('[name="time"]');
  slider.max = lengths[driver] ?? 1;
  sliders.time(0);
  play(driver !== "");
}

function rest() {
  choose("");
  view.weights.fill(0);
  [view.gaze, view.turn] = [[0, 0], [0, 0, 0]];
  for (const name of [...units, "gaze across", "gaze down", "yaw", "pitch", "roll"]) sliders[name](0);
  changed();
}

// ---- light

function offer(name) {
  $("light").add(new Option(name, name));
}

async function lightBy(file) {
  try {
    if (file.size > UPLOAD_BYTES) throw new Error(`it has more than ${UPLOAD_BYTES >> 20} MB`);
    const { name } = await (await ask(`light?${encodeURIComponent(file.name)}`, file)).json();
    offer(name);
    view.light = $("light").value = name;
    say("");
    changed();
  } catch (error) {
    say(`${file.name} can't be used: ${error.message}`);
  }
}

// ---- textures that are painted elsewhere

let stamp = null;

async function texturesSaved() {
  const told = await (await ask("textures", "")).json();
  if (stamp !== null && told.stamp !== stamp) changed();
  ({ stamp } = told);
}

// ---- files to keep

async function download(button, name, made) {
  button.disabled = true;
  try {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await made()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say("");
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
}

async function film() {
  say("filming …");
  const rows = FILM.rows, moves = view.driver !== "";
  const seconds = moves ? Math.min(lengths[view.driver], FILM.seconds) : FILM.turnSeconds;
  const views = Array.from({ length: Math.max(1, Math.round(seconds * FILM.fps)) }, (_, i) => {
    if (moves) return { ...asked(rows), time: i / FILM.fps };
    const { azimuth } = orbit;
    orbit.azimuth += (FILM.turn * Math.PI) / 180 * Math.sin((2 * Math.PI * i) / (seconds * FILM.fps));
    const one = asked(rows);
    orbit.azimuth = azimuth;
    return one;
  });
  return (await ask("film", JSON.stringify({ fps: FILM.fps, views }))).blob();
}

// ---- a fit

function progress(state) {
  fit = state;
  $("fit").hidden = false;
  $("progress").textContent = `${state.stage}: step ${state.step} of ${state.total}, loss ${state.loss.toFixed(4)}`;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  document.body.dataset.step = state.step;
}

async function hold() {
  const paused = !fit.paused;
  await ask("pause", JSON.stringify(paused));
  progress({ ...fit, paused });
  changed();
}

// ---- all of it

function controls() {
  for (const name of ["mode", "light", "background"]) {
    $(name).addEventListener("change", (event) => { view[name] = event.target.value; changed(); });
  }
  $("beside").addEventListener("change", (event) => { view.beside = event.target.checked; changed(); });
  $("driver").addEventListener("change", (event) => choose(event.target.value));
  $("play").addEventListener("click", () => play(!playing));
  $("rest").addEventListener("click", rest);
  $("recorded").addEventListener("click", () => byRecording(!orbit.recorded));
  $("pause").addEventListener("click", hold);
  $("upload").addEventListener("change", (event) => { if (event.target.files.length) lightBy(event.target.files[0]); });
  $("save").addEventListener("click", (event) => download(event.target, `${document.title}.png`,
    async () => (await ask("save", JSON.stringify(asked()))).blob()));
  $("film").addEventListener("click", (event) => download(event.target, `${document.title}.mp4`, film));
  slider($("performance"), "time", [0, 1, 0.01], 0, (value) => { view.time = value; play(false); });
  slider($("lighting"), "rotate", [-180, 180, 1], 0, (value) => { view.rotate = value; changed(); });
  slider($("lighting"), "exposure", [-4, 4, 0.05], 0, (value) => { view.exposure = value; changed(); });
  for (const [i, name] of [[1, "yaw"], [0, "pitch"], [2, "roll"]]) {
    slider($("head"), name, [-60, 60, 1], 0, (value) => { view.turn[i] = value; changed(); });
  }
  for (const [i, name] of ["gaze across", "gaze down"].entries()) {
    slider($("head"), name, [-30, 30, 1], 0, (value) => { view.gaze[i] = value; changed(); });
  }
  expressionSliders(units, (name, value) => { view.weights[units.indexOf(name)] = value; changed(); });
  dragging($("picture"));
  dropping($("stage"), lightBy);
}

async function open() {
  const begun = await (await ask("begin", "")).json();
  $("title").textContent = document.title = begun.title;
  ({ units, performances: lengths, most_pixels: mostPixels } = begun);
  view.weights = units.map(() => 0);
  for (const mode of begun.modes) $("mode").add(new Option(mode, mode));
  for (const name of Object.keys(lengths)) $("driver").add(new Option(name, name));
  $("beside").disabled = !begun.beside.length;
  controls();
  begun.lights.forEach(offer);
  view.light = $("light").value = begun.light;
  $("front").addEventListener("click", () => look(begun.place));
  if (begun.fit) progress(begun.fit);
  say("");
  look(begun.place);
  new ResizeObserver(changed).observe($("stage"));
  if (begun.textures) setInterval(() => texturesSaved().catch(() => {}), 1000);  // `work` tells when nobody answers
  setInterval(work, 50);  // when changes have ceased, and for a fit
}
open();
