// Light of the page that `flare export --format html` writes: which map, and what stands behind the head.

const lights = {};  // textures by name
const shown = { light: Object.keys(settings.lights)[0], background: "blur", rotate: 0, exposure: 0 };
let avatar = null;  // that is lit

async function relight() {
  const { light: name } = shown;
  lights[name] ??= mapOf(await unpacked(settings.lights[name]));
  if (name !== shown.light) return;  // another was chosen meanwhile
  const { intensity, angle } = avatar.light(lights[name], shown);
  scene.backgroundIntensity = intensity;
  scene.backgroundRotation.y = angle;
  const colour = shown.background.startsWith("#");
  scene.background = colour ? new THREE.Color(shown.background) : lights[name];
  scene.backgroundBlurriness = shown.background === "blur" ? 0.3 : 0;
}

function mapOf(bytes) {
  const map = new THREE.HDRLoader().createDataTexture(bytes.slice().buffer);
  map.mapping = THREE.EquirectangularReflectionMapping;
  return map;
}

function offer(name) {
  $("light").add(new Option(name, name));
}

async function lightBy(file) {
  try {
    const map = mapOf(new Uint8Array(await file.arrayBuffer()));
    avatar.light(map, shown);  // refuses what is no map
    lights[file.name] = map;
  } catch (error) {
    say(`${file.name} can't be used: ${error.message}`);
    return;
  }
  offer(file.name);
  shown.light = $("light").value = file.name;
  await relight();
  say("");
}

dropping($("stage"), lightBy);
