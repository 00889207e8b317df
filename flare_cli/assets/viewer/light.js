// Light of the page that `flare export --format html` writes: maps, and the avatar shaded under them as `flare relight` does.

const lights = {};  // by name: the map, its cells, its lamps, and the gain that makes its mean radiance 1
const shown = { light: Object.keys(settings.lights)[0], background: "blur", rotate: 0, exposure: 0 };

function prepared(bytes) {
  const { data, width, height } = new THREE.HDRLoader().setDataType(1015).parse(bytes.slice().buffer);  // FloatType
  if (width !== 2 * height) throw new Error(`the map is ${width} x ${height}, not twice as wide as high`);
  const map = equirectangular(data, width, height), gain = 1 / meanRadiance(data, width, height);
  const all = gathered(data, width, height), lamps = takenOut(data, width, height, BRIGHT / gain);
  return { map, cells: { all, rest: gathered(data, width, height) }, lamps, gain };
}

function equirectangular(data, width, height) {
  const half = new Uint16Array(data.length);
  for (let i = 0; i < data.length; i++) half[i] = THREE.DataUtils.toHalfFloat(Math.min(data[i], 65504));
  const map = new THREE.DataTexture(half, width, height, THREE.RGBAFormat, 1016, THREE.EquirectangularReflectionMapping);  // HalfFloatType
  map.colorSpace = THREE.LinearSRGBColorSpace;
  map.minFilter = map.magFilter = THREE.LinearFilter;
  map.flipY = true;
  map.needsUpdate = true;
  return map;
}

// Calls `each` with the first number of every texel, the solid angle it stands for, and its direction in the map.
function texels(width, height, each) {
  for (let row = 0; row < height; row++) {
    const polar = ((row + 0.5) / height) * Math.PI, sine = Math.sin(polar);
    for (let column = 0; column < width; column++) {
      const around = ((column + 0.5) / width - 0.5) * 2 * Math.PI;
      each(4 * (row * width + column), sine * (Math.PI / height) * ((2 * Math.PI) / width),
        [sine * Math.cos(around), Math.cos(polar), sine * Math.sin(around)]);
    }
  }
}

const grey = (data, i) => (data[i] + data[i + 1] + data[i + 2]) / 3;

function meanRadiance(data, width, height) {
  let sum = 0;
  texels(width, height, (i, angle) => { sum += angle * grey(data, i); });
  return Math.max(sum / (4 * Math.PI), 1e-8);
}

// Light is summed over the map in cells, as `flare relight` sums it: each has all the light of its texels, its direction is
// their mean, and its spread the mean square angle from that.
function middle({ colour, sum, total }) {
  const length = Math.hypot(...sum) || 1;  // a cell without texels has no direction, and no light
  return { colour, direction: sum.map((x) => x / length), spread: Math.max(0, 2 - (2 * length) / (total || 1)) };
}

const CELL_ROWS = 12, CELLS = 2 * CELL_ROWS * CELL_ROWS;

function gathered(data, width, height) {
  const cells = Array.from({ length: CELLS }, () => ({ colour: [0, 0, 0], sum: [0, 0, 0], total: 0 }));
  texels(width, height, (i, angle, direction) => {
    const row = Math.floor((CELL_ROWS * Math.floor(i / 4 / width)) / height);
    const cell = cells[2 * CELL_ROWS * row + Math.floor((2 * CELL_ROWS * ((i / 4) % width)) / width)], power = angle * (grey(data, i) + 1e-9);
    for (let c = 0; c < 3; c++) {
      cell.colour[c] += angle * data[i + c];
      cell.sum[c] += power * direction[c];
    }
    cell.total += power;
  });
  return cells.map(middle);
}

// Vertices are too coarse for highlights. So what is much brighter than all around is taken out of the map and becomes a few
// lamps for every pixel: `bright` stays, and each lamp has what is above that within LAMP_REACH of what was brightest.
const BRIGHT = 1.5, MOST_LAMPS = 4, LAMP_REACH = Math.cos((16 * Math.PI) / 180);

function takenOut(data, width, height, bright) {
  const lamps = [];
  while (lamps.length < MOST_LAMPS) {
    let most = 1.01 * bright, brightest = null;  // not what rounding left of one before
    texels(width, height, (i, _, direction) => { if (grey(data, i) > most) { most = grey(data, i); brightest = direction; } });
    if (!brightest) break;
    const colour = [0, 0, 0], sum = [0, 0, 0];
    let total = 0;
    texels(width, height, (i, angle, direction) => {
      const radiance = grey(data, i), above = 1 - bright / radiance;
      if (above <= 0 || direction[0] * brightest[0] + direction[1] * brightest[1] + direction[2] * brightest[2] < LAMP_REACH) return;
      for (let c = 0; c < 3; c++) {
        colour[c] += angle * above * data[i + c];
        sum[c] += angle * above * radiance * direction[c];
        data[i + c] *= 1 - above;
      }
      total += angle * above * radiance;
    });
    lamps.push(middle({ colour, sum, total }));
  }
  return lamps;
}

// What the shader reads of the light: cells of all (direction and spread, then irradiance) and of all but lamps; lamps.
const sky = numbers(CELLS, 4);
const lit = {
  sky: { value: sky },
  lampFrom: { value: new Float32Array(4 * MOST_LAMPS) },  // direction and spread
  lampColour: { value: new Float32Array(3 * MOST_LAMPS) },
};

function numbers(width, height) {
  const texture = new THREE.DataTexture(new Float32Array(4 * width * height), width, height, THREE.RGBAFormat, 1015);  // FloatType
  texture.needsUpdate = true;
  return texture;
}

async function relight() {
  const { light: name } = shown;
  lights[name] ??= prepared(await unpacked(settings.lights[name]));
  if (name !== shown.light) return;  // another was chosen meanwhile
  const light = lights[name];
  const intensity = light.gain * 2 ** shown.exposure;
  // A map's middle is behind the head (-z); three.js has it at +x.
  const angle = Math.PI / 2 + (shown.rotate * Math.PI) / 180, [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
  scene.backgroundIntensity = intensity;
  scene.backgroundRotation.y = angle;
  const turned = ([x, y, z]) => [x * cosine + z * sine, y, z * cosine - x * sine];
  for (const [row, cells] of [[0, light.cells.all], [2, light.cells.rest]]) {
    cells.forEach(({ direction, spread, colour }, i) => {
      sky.image.data.set([...turned(direction), spread], 4 * (row * CELLS + i));
      sky.image.data.set(colour.map((c) => intensity * c), 4 * ((row + 1) * CELLS + i));
    });
  }
  sky.needsUpdate = true;
  lit.lampColour.value.fill(0);
  light.lamps.forEach(({ direction, spread, colour }, i) => {
    lit.lampFrom.value.set([...turned(direction), spread], 4 * i);
    lit.lampColour.value.set(colour.map((c) => intensity * c), 3 * i);
  });
  const colour = shown.background.startsWith("#");
  scene.background = colour ? new THREE.Color(shown.background) : light.map;
  scene.backgroundBlurriness = shown.background === "blur" ? 0.3 : 0;
}

function offer(name) {
  $("light").add(new Option(name, name));
}

async function lightBy(file) {
  try {
    lights[file.name] = prepared(new Uint8Array(await file.arrayBuffer()));
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

// What vertices see of the light: a function c + d.b + d.M d of the direction d, held to 0..1. Its nine numbers are in
// `settings.seen`, of the face at rest, and how they change to each of some shapes (name and weight). Between these they
// are taken to change evenly.
const SEEN_COLUMNS = 256;
const shapes = settings.seen.shapes.map(([name, at], i, all) => {
  const [before, after] = [all[i - 1], all[i + 1]].map((other) => (other?.[0] === name ? other[1] : null));
  return { name, at, before: before ?? 0, after: after ?? Infinity };
});
const seen = numbers(3 * SEEN_COLUMNS, Math.ceil(settings.seen.vertices / SEEN_COLUMNS));
let seenParts = null, shares = [];  // of rest and changes: signed bytes

function share({ at, before, after }, weight) {
  if (weight <= at) return Math.max(0, (weight - before) / (at - before));
  return after === Infinity ? 1 : Math.max(0, (after - weight) / (after - at));
}

function shadow() {
  const { morphTargetDictionary: index, morphTargetInfluences: now } = faces[0];
  const wanted = [1, ...shapes.map((shape) => share(shape, now[index[shape.name]]))];
  if (wanted.every((value, i) => value === shares[i])) return;
  shares = wanted;
  const sum = seen.image.data, { scales, vertices } = settings.seen;
  sum.fill(0);
  shares.forEach((value, row) => {
    const factor = value * scales[row];
    if (!factor) return;
    for (let v = 0, from = 9 * vertices * row; v < vertices; v++) {
      for (let i = 0; i < 9; i++) sum[12 * v + i] += factor * seenParts[from + 9 * v + i];
    }
  });
  seen.needsUpdate = true;
}

// Light as `flare relight` has it (render/kernels/summed_light.py). At each vertex `arriving` sums direction times irradiance
// of all that comes from above the horizon, for each of red, green and blue: its product with a normal near the vertex's is
// the irradiance there.
const SEEN = `
  varying vec4 vSeen;  // c, b
  varying vec2 vDiagonal;  // of M
  varying vec3 vAcross;
  varying mat3 vArriving;
  varying vec3 vReflected;  // without lamps, at specular intensity 1
  mat3 curved() { return mat3(vDiagonal.x, vAcross.xy, vAcross.x, vDiagonal.y, vAcross.z, vAcross.yz, -vDiagonal.x - vDiagonal.y); }
  float seenFrom(vec3 d) { return clamp(vSeen.x + dot(d, vSeen.yzw + curved() * d), 0.0, 1.0); }
  float masked(float cosine, float alpha2) { return sqrt(cosine * cosine * (1.0 - alpha2) + alpha2); }
  // GGX's lobe times n.l, as wide as the light is spread, and Schlick's Fresnel term.
  float glossy(vec3 l, float spread, vec3 n, vec3 v, float alpha2, float f0) {
    float nl = dot(n, l), nv = max(dot(n, v), 1e-3), s = max(2.0 + 2.0 * dot(v, l), 1e-4);  // (v.h)^2 = s / 4
    float wide = max(alpha2 + spread / sqrt(s), 1e-4), q = s + (wide - 1.0) * (nl + nv) * (nl + nv);
    float fresnel = f0 + (1.0 - f0) * pow(1.0 - 0.5 * sqrt(s), 5.0);
    return fresnel * wide * s * s * nl / (2.0 * PI * q * q * (nl * masked(nv, alpha2) + nv * masked(nl, alpha2)));
  }
`;
const LIT_VERTEX = `
  #include <project_vertex>
  int number = int(_vertex);
  ivec2 at = ivec2(3 * (number % ${SEEN_COLUMNS}), number / ${SEEN_COLUMNS});
  vec4 plain = texelFetch(seen, at, 0), more = texelFetch(seen, at + ivec2(1, 0), 0);
  float last = texelFetch(seen, at + ivec2(2, 0), 0).x;
  mat3 turn = mat3(skinMatrix);
  mat3 m = turn * mat3(more.x, more.zw, more.z, more.y, last, more.w, last, -more.x - more.y) * transpose(turn);
  vSeen = vec4(plain.x, turn * plain.yzw);
  vDiagonal = vec2(m[0].x, m[1].y);
  vAcross = vec3(m[0].yz, m[1].z);
  vec3 n = normalize(objectNormal), v = normalize(cameraPosition - transformed);
  float alpha2 = pow(textureLod(roughnessMap, vRoughnessMapUv, 3.0).g, 4.0), f0 = (ior - 1.0) * (ior - 1.0) / ((ior + 1.0) * (ior + 1.0));
  vArriving = mat3(0.0);
  vReflected = vec3(0.0);
  vec3 facing = n - 2.0 * min(dot(n, v), 0.0) * v;
  for (int i = 0; i < ${CELLS}; i++) {
    vec3 d = texelFetch(sky, ivec2(i, 0), 0).xyz;
    if (dot(n, d) > 0.0) vArriving += outerProduct(d, seenFrom(d) * texelFetch(sky, ivec2(i, 1), 0).rgb);
    vec4 from = texelFetch(sky, ivec2(i, 2), 0);
    if (dot(facing, from.xyz) > 0.0) vReflected += seenFrom(from.xyz) * glossy(from.xyz, from.w, facing, v, alpha2, f0) * texelFetch(sky, ivec2(i, 3), 0).rgb;
  }
`;
const LIT_FRAGMENT = `
  vec3 n = transformNormalByInverseViewMatrix(geometryNormal, viewMatrix);
  vec3 v = transformDirectionByInverseViewMatrix(geometryViewDir, viewMatrix);
  // What is hidden is taken to be of the same albedo and as brightly lit: 1 / (1 - albedo (1 - openness)) leaves again.
  float openness = clamp(vSeen.x + dot(n, vSeen.yzw) / 1.5 + dot(n, curved() * n) / 4.0, 0.0, 1.0);
  vec3 bounced = 1.0 / max(1.0 - diffuseColor.rgb * (1.0 - openness), 0.2);
  reflectedLight.indirectDiffuse = diffuseColor.rgb * max(n * vArriving, 0.0) * RECIPROCAL_PI * bounced;
  vec3 reflected = vReflected;
  float alpha2 = pow4(roughnessFactor), f0 = (ior - 1.0) * (ior - 1.0) / ((ior + 1.0) * (ior + 1.0));
  for (int i = 0; i < ${MOST_LAMPS}; i++) {
    vec3 l = lampFrom[i].xyz;
    if (dot(n, l) > 0.0) reflected += seenFrom(l) * glossy(l, lampFrom[i].w, n, v, alpha2, f0) * lampColour[i];
  }
  reflectedLight.indirectSpecular = texelRoughness.r * reflected;  // specular intensity
`;

function likeRelight(shader) {
  Object.assign(shader.uniforms, lit, { seen: { value: seen } });
  const vertex = `attribute float _vertex; uniform highp sampler2D seen, sky; uniform sampler2D roughnessMap; uniform float ior;`;
  const fragment = `uniform vec4 lampFrom[${MOST_LAMPS}]; uniform vec3 lampColour[${MOST_LAMPS}];`;
  shader.vertexShader = shader.vertexShader.replace("#include <common>", `#include <common>\n${vertex}${SEEN}`)
    .replace("#include <project_vertex>", LIT_VERTEX);
  shader.fragmentShader = shader.fragmentShader.replace("#include <common>", `#include <common>\n${fragment}${SEEN}`)
    .replace("#include <lights_fragment_end>", LIT_FRAGMENT)
    .replace("#include <aomap_fragment>", "");
}
