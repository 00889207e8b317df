// An avatar that `flare export` wrote with its shadows, lit in three.js as `flare relight` lights it.
//
//   import { relightable } from "./flare_light.js";
//   const gltf = await new GLTFLoader().loadAsync("me.glb");      // of flare export --shadows
//   const avatar = await relightable(gltf.scene);
//   avatar.light(await new HDRLoader().loadAsync("studio.hdr"), { rotate: 30, exposure: 0 });
//   renderer.setAnimationLoop(() => { avatar.update(); renderer.render(scene, camera); });
//
// For WebGLRenderer. Lamps of the scene add to it; `scene.environment` does nothing to the avatar.
import * as THREE from "three";

// ---- light: an equirectangular map, summed in cells as `flare relight` sums it

// Calls `each` with the first number of every texel, the solid angle it stands for, and its direction in the map.
function texels({ width, height }, each) {
  for (let row = 0; row < height; row++) {
    const polar = ((row + 0.5) / height) * Math.PI, sine = Math.sin(polar);
    for (let column = 0; column < width; column++) {
      const around = ((column + 0.5) / width - 0.5) * 2 * Math.PI;
      each(4 * (row * width + column), sine * (Math.PI / height) * ((2 * Math.PI) / width),
        [sine * Math.cos(around), Math.cos(polar), sine * Math.sin(around)]);
    }
  }
}

// Linear radiance of a texture, the upmost row first.
function radiances({ image: { data, width, height }, type, flipY }) {
  if (width !== 2 * height) throw new Error(`the map is ${width} x ${height}, not twice as wide as high`);
  const number = type === THREE.HalfFloatType ? THREE.DataUtils.fromHalfFloat : (value) => value;
  const upright = new Float32Array(data.length), length = 4 * width;
  for (let row = 0; row < height; row++) {
    const from = length * (flipY ? row : height - 1 - row);
    for (let i = 0; i < length; i++) upright[length * row + i] = number(data[from + i]);
  }
  return { data: upright, width, height };
}

const grey = (data, i) => (data[i] + data[i + 1] + data[i + 2]) / 3;

function meanRadiance(map) {
  let sum = 0;
  texels(map, (i, angle) => { sum += angle * grey(map.data, i); });
  return Math.max(sum / (4 * Math.PI), 1e-8);
}

// A cell has all the light of its texels, its direction is their mean, and its spread the mean square angle from that.
function middle({ colour, sum, total }) {
  const length = Math.hypot(...sum) || 1;  // a cell without texels has no direction, and no light
  return { colour, direction: sum.map((x) => x / length), spread: Math.max(0, 2 - (2 * length) / (total || 1)) };
}

const CELL_ROWS = 12, CELLS = 2 * CELL_ROWS * CELL_ROWS;

function gathered(map) {
  const { data, width, height } = map;
  const cells = Array.from({ length: CELLS }, () => ({ colour: [0, 0, 0], sum: [0, 0, 0], total: 0 }));
  texels(map, (i, angle, direction) => {
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

function takenOut(map, bright) {
  const lamps = [], { data } = map;
  while (lamps.length < MOST_LAMPS) {
    let most = 1.01 * bright, brightest = null;  // not what rounding left of one before
    texels(map, (i, _, direction) => { if (grey(data, i) > most) { most = grey(data, i); brightest = direction; } });
    if (!brightest) break;
    const colour = [0, 0, 0], sum = [0, 0, 0];
    let total = 0;
    texels(map, (i, angle, direction) => {
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

const summedMaps = new WeakMap();  // by texture: its cells, its lamps, and the gain that makes its mean radiance 1

function summed(texture) {
  if (!summedMaps.has(texture)) {
    const map = radiances(texture), mean = meanRadiance(map), all = gathered(map);
    const lamps = takenOut(map, BRIGHT * mean);
    summedMaps.set(texture, { all, rest: gathered(map), lamps, gain: 1 / mean });
  }
  return summedMaps.get(texture);
}

function numbers(width, height) {
  const texture = new THREE.DataTexture(new Float32Array(4 * width * height), width, height, THREE.RGBAFormat, THREE.FloatType);
  texture.needsUpdate = true;
  return texture;
}

// ---- what vertices see of it: a function c + d.b + d.M d of the direction d, held to 0..1

const SEEN_COLUMNS = 256;

async function unpacked(text) {
  const { body } = await fetch(`data:;base64,${text}`);  // ten times as fast as atob
  return new Int8Array(await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

// The part that a shape (a morph at a weight) has at another weight: between neighbours change is taken to be even.
function share({ at, before, after }, weight) {
  if (weight <= at) return Math.max(0, (weight - before) / (at - before));
  return after === Infinity ? 1 : Math.max(0, (after - weight) / (after - at));
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
  float seenFrom(vec3 d) { return smoothstep(0.0, 1.0, vSeen.x + dot(d, vSeen.yzw + curved() * d)); }
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
  int number = int(_vertex + 0.5);
  ivec2 at = ivec2(3 * (number % ${SEEN_COLUMNS}), number / ${SEEN_COLUMNS});
  vec4 plain = texelFetch(seen, at, 0), more = texelFetch(seen, at + ivec2(1, 0), 0);
  float last = texelFetch(seen, at + ivec2(2, 0), 0).x;
  mat3 turn = mat3(modelMatrix) * mat3(skinMatrix);
  turn /= length(turn[0]);  // of a scaled avatar
  mat3 m = turn * mat3(more.x, more.zw, more.z, more.y, last, more.w, last, -more.x - more.y) * transpose(turn);
  vSeen = vec4(plain.x, turn * plain.yzw);
  vDiagonal = vec2(m[0].x, m[1].y);
  vAcross = vec3(m[0].yz, m[1].z);
  vec3 n = normalize(mat3(modelMatrix) * objectNormal), v = normalize(cameraPosition - (modelMatrix * vec4(transformed, 1.0)).xyz);
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
  // A row vector times a rotation: into the world.
  vec3 n = normalize(geometryNormal * mat3(viewMatrix)), v = normalize(geometryViewDir * mat3(viewMatrix));
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
  #ifdef USE_SPECULAR_INTENSITYMAP
    reflectedLight.indirectSpecular = specularIntensityFactor * reflected;
  #else  // the page of flare export --format html keeps it where others have occlusion
    reflectedLight.indirectSpecular = texelRoughness.r * reflected;
  #endif
`;

// ---- an avatar

// Changes the materials of what `GLTFLoader` made of the file, and answers with what lights it:
// `light(map, { rotate, exposure })`: by a texture of `HDRLoader` or `EXRLoader`, turned by `rotate` degrees toward the avatar's left.
//   Its mean radiance becomes 1, and `exposure` stops more. Answers with `intensity` and `angle`, for a background of the same map.
// `update()`: once a frame, when its morphs have changed: shadows of the face as it is now.
export async function relightable(root) {
  const faces = [];
  root.traverse((node) => { if (node.isMesh && node.userData.flare_seen) faces.push(node); });
  if (!faces.length) throw new Error("nothing here says what it sees of the light: write it by `flare export --shadows`");
  const { shapes: given, scales, vertices, data } = faces[0].userData.flare_seen;
  const parts = await unpacked(data);  // of rest, and of the change to each shape
  const shapes = given.map(([name, at], i, all) => {
    const [before, after] = [all[i - 1], all[i + 1]].map((other) => (other?.[0] === name ? other[1] : null));
    return { name, at, before: before ?? 0, after: after ?? Infinity };
  });
  // Of `sky`: cells of all (direction and spread, then irradiance) and of all but lamps.
  const sky = numbers(CELLS, 4), seen = numbers(3 * SEEN_COLUMNS, Math.ceil(vertices / SEEN_COLUMNS));
  const lampFrom = new Float32Array(4 * MOST_LAMPS), lampColour = new Float32Array(3 * MOST_LAMPS);
  const uniforms = { sky: { value: sky }, seen: { value: seen }, lampFrom: { value: lampFrom }, lampColour: { value: lampColour } };
  let shares = [];

  function asRelight(shader) {
    Object.assign(shader.uniforms, uniforms);
    const vertex = "attribute float _vertex; uniform highp sampler2D seen, sky; uniform sampler2D roughnessMap; uniform float ior;";
    const fragment = `uniform vec4 lampFrom[${MOST_LAMPS}]; uniform vec3 lampColour[${MOST_LAMPS}];`;
    shader.vertexShader = shader.vertexShader.replace("#include <common>", `#include <common>\n${vertex}${SEEN}`)
      .replace("#include <project_vertex>", LIT_VERTEX);
    shader.fragmentShader = shader.fragmentShader.replace("#include <common>", `#include <common>\n${fragment}${SEEN}`)
      .replace("#include <lights_fragment_end>", LIT_FRAGMENT)
      .replace("#include <aomap_fragment>", "");
  }

  for (const { material } of faces) {
    Object.assign(material, { aoMap: null, metalnessMap: null, onBeforeCompile: asRelight });  // shadows are in what is seen
    material.needsUpdate = true;
  }

  function light(map, { rotate = 0, exposure = 0 } = {}) {
    const { all, rest, lamps, gain } = summed(map), intensity = gain * 2 ** exposure;
    // A map's middle is behind the head (-z); three.js has it at +x.
    const angle = Math.PI / 2 + (rotate * Math.PI) / 180, [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    const turned = ([x, y, z]) => [x * cosine + z * sine, y, z * cosine - x * sine];
    for (const [row, cells] of [[0, all], [2, rest]]) {
      cells.forEach(({ direction, spread, colour }, i) => {
        sky.image.data.set([...turned(direction), spread], 4 * (row * CELLS + i));
        sky.image.data.set(colour.map((c) => intensity * c), 4 * ((row + 1) * CELLS + i));
      });
    }
    sky.needsUpdate = true;
    lampColour.fill(0);
    lamps.forEach(({ direction, spread, colour }, i) => {
      lampFrom.set([...turned(direction), spread], 4 * i);
      lampColour.set(colour.map((c) => intensity * c), 3 * i);
    });
    return { intensity, angle };
  }

  function update() {
    const { morphTargetDictionary: index, morphTargetInfluences: now } = faces[0];
    const wanted = [1, ...shapes.map((shape) => share(shape, now[index[shape.name]]))];
    if (wanted.every((value, i) => value === shares[i])) return;
    shares = wanted;
    const sum = seen.image.data;
    sum.fill(0);
    shares.forEach((value, row) => {
      const factor = value * scales[row];
      if (!factor) return;
      for (let v = 0, from = 9 * vertices * row; v < vertices; v++) {
        for (let i = 0; i < 9; i++) sum[12 * v + i] += factor * parts[from + 9 * v + i];
      }
    });
    seen.needsUpdate = true;
  }

  update();
  return { light, update };
}
