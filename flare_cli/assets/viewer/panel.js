// Controls that `flare view` and the page of `flare export --format html` share.
"use strict";
const $ = (id) => document.getElementById(id);
const say = (text) => { $("message").textContent = text; };
window.addEventListener("error", (event) => say(event.message));
window.addEventListener("unhandledrejection", (event) => say(String(event.reason)));

const sliders = {};  // by name: what puts a slider somewhere else

function slider(parent, name, [least, most, step], value, changed) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "range", min: least, max: most, step, value });
  const output = document.createElement("output");
  const show = () => { output.textContent = Number(input.value).toFixed(step < 1 ? 2 : 0); };
  input.name = name;
  input.addEventListener("input", () => { show(); changed(Number(input.value)); });
  label.append(name, input, output);
  parent.append(label);
  show();
  sliders[name] = (value) => { input.value = value; show(); };
}

// What to do with a file that is dropped onto the stage.
function dropping(stage, use) {
  stage.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("drop"); });
  stage.addEventListener("dragleave", () => stage.classList.remove("drop"));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("drop");
    if (event.dataTransfer.files.length) use(event.dataTransfer.files[0]);
  });
}

// ARKit's units
const GROUPS = {
  Brows: /^brow/, Eyes: /^eye/, Jaw: /^jaw/, Mouth: /^mouth/, "Cheeks, nose": /^(cheek|nose)/, Tongue: /^tongue/,
};

function expressionSliders(names, changed) {
  for (const [group, pattern] of Object.entries(GROUPS)) {
    const details = Object.assign(document.createElement("details"), { open: group === "Jaw" });
    details.append(Object.assign(document.createElement("summary"), { textContent: group }));
    for (const name of names.filter((name) => pattern.test(name))) {
      slider(details, name, [0, 1, 0.01], 0, (value) => changed(name, value));
    }
    $("expressions").append(details);
  }
}
