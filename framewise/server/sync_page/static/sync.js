// Uploads, progress, and one seek bar for all recordings. Times are seconds of the reference's clock.
"use strict";

const between = (x, low, high) => Math.min(Math.max(x, low), high);
const pause = ms => new Promise(done => setTimeout(done, ms));

// Progress: short requests, none while the page is hidden. At the end, the page is reloaded.
const job = document.querySelector("#job[data-state]");
const told = state => {
  document.querySelector("#how").textContent = state.state;
  const steps = document.querySelector("#steps"), log = document.querySelector("#log");
  steps.replaceChildren(...state.steps.map(([what, share]) => {
    const row = document.createElement("div"), name = document.createElement("span"), bar = document.createElement("progress");
    const percent = document.createElement("output");
    row.className = "step";
    name.textContent = what;
    bar.value = share;
    bar.setAttribute("aria-label", what);
    percent.textContent = `${Math.round(100 * share)}%`;
    row.append(name, bar, percent);
    return row;
  }));
  if (log.textContent !== state.log) {
    log.textContent = state.log;
    log.scrollTop = log.scrollHeight;
  }
};
const follow = async () => {
  for (;;) {
    if (!document.hidden) {
      try {
        const answer = await fetch(job.dataset.state, {headers: {Accept: "application/json"}});
        if (!answer.ok) return location.reload();
        const state = await answer.json();
        told(state);
        if (!["waiting", "running"].includes(state.state)) return location.reload();
      } catch { /* the next one will do */ }
    }
    await pause(700);
  }
};
if (job) follow();

// Uploads: one file after another, each as the body of a request.
const upload = document.querySelector("#upload");
const send = (file, row) => new Promise(done => {
  const request = new XMLHttpRequest(), bar = row.querySelector("progress");
  request.open("POST", `${upload.dataset.to}?name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("X-Form-Token", upload.dataset.token);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", event => { if (event.total) bar.value = event.loaded / event.total; });
  request.addEventListener("loadend", () => {
    let message = "";
    if (request.status !== 200) {
      try { message = JSON.parse(request.responseText).error; } catch { message = "the connection was lost; upload it again"; }
    }
    done([request.status, message]);
  });
  request.send(file);
});
// Files that are too large are not sent: a refusal during the upload would look like a lost connection.
let room = Number(upload?.dataset.room);
const sendOne = async (file, row) => {
  if (file.size > room) return `too large: ${(file.size / 1e6).toFixed(1)} MB, and there is room for ${(room / 1e6).toFixed(1)} MB`;
  let [status, message] = await send(file, row);
  while (status === 503) {
    row.querySelector("span").textContent = "waiting for others";
    await pause(3000);
    [status, message] = await send(file, row);
  }
  if (!message) room -= file.size;
  return message;
};
const sendAll = async files => {
  const list = upload.querySelector(".uploads");
  const rows = files.map(file => {
    const row = document.createElement("li"), bar = document.createElement("progress"), said = document.createElement("span");
    row.append(file.name, " ", said, bar);
    bar.value = 0;
    list.append(row);
    return row;
  });
  let failed = false;
  for (const [place, file] of files.entries()) {
    const message = await sendOne(file, rows[place]);
    rows[place].querySelector("span").textContent = message || "done";
    rows[place].classList.toggle("error", Boolean(message));
    failed ||= Boolean(message);
  }
  if (!failed) location.reload();
};
const chosen = upload?.querySelector("input");
if (upload && !chosen.disabled) {
  chosen.addEventListener("change", () => { sendAll([...chosen.files]); });
  upload.addEventListener("dragover", event => { event.preventDefault(); upload.classList.add("over"); });
  upload.addEventListener("dragleave", () => upload.classList.remove("over"));
  upload.addEventListener("drop", event => {
    event.preventDefault();
    upload.classList.remove("over");
    sendAll([...event.dataTransfer.files]);
  });
}

// All recordings at the same time.
const wall = document.querySelector("#wall");
if (wall) {
  const INTO_FRAME = 0.001;  // seconds: at the exact edge of a frame, browsers show the previous one
  const FAR = 0.25, NEAR = 0.005;  // seconds by which a playing recording may be off before it jumps, or plays faster or slower
  const seek = document.querySelector("#seek"), shown = document.querySelector("#clock"), play = wall.querySelector("[data-do=play]");
  const cameras = [...wall.querySelectorAll(".camera")].map(box => ({
    box, video: box.querySelector("video"), away: box.querySelector(".away"), own: box.querySelector(".own"),
    offset: Number(box.dataset.offset), rate: Number(box.dataset.rate), duration: Number(box.dataset.duration),
    frames: Number(box.dataset.frameRate) || 0, reference: Boolean(box.dataset.reference), wanted: null, broken: false,
  }));
  const frames = cameras.find(c => c.reference && c.frames)?.frames || cameras.find(c => c.frames)?.frames || 25;
  let clock = 0, playing = false, last = 0;
  const ends = () => [Math.min(...cameras.map(c => c.offset)), Math.max(...cameras.map(c => c.offset + c.rate * c.duration))];
  const ownTime = c => (clock - c.offset) / c.rate;
  const isInside = c => ownTime(c) > -1e-6 && ownTime(c) < c.duration - 1e-6;

  const jump = (c, to) => {  // the last request counts
    if (c.video.seeking) { c.wanted = to; return; }
    c.wanted = null;
    if (Math.abs(c.video.currentTime - to) > 1e-5) c.video.currentTime = to;
  };
  const draw = () => {
    const [low, high] = ends();
    seek.min = low;
    seek.max = high;
    seek.value = clock;
    const frame = Math.floor(clock * frames + 1e-6) + 1;
    shown.textContent = `${clock.toFixed(3)} s · frame ${frame}`;
    seek.setAttribute("aria-valuetext", `${clock.toFixed(3)} seconds, frame ${frame}`);
    for (const c of cameras) {
      const inside = isInside(c);
      c.own.textContent = inside ? `${ownTime(c).toFixed(3)} s` : "";
      c.box.classList.toggle("outside", !inside || c.broken);
      c.away.hidden = inside && !c.broken;
      const why = c.broken ? "This browser cannot play the file; its offset is still valid."
        : ownTime(c) < 0 ? "has not started yet" : "is over";
      if (c.away.textContent !== why) c.away.textContent = why;
    }
  };
  const place = () => { for (const c of cameras) if (isInside(c)) jump(c, Math.min(ownTime(c) + INTO_FRAME, c.duration)); };
  const go = to => { clock = between(to, ...ends()); draw(); place(); };
  const stop = () => {
    playing = false;
    play.textContent = "Play";
    for (const c of cameras) c.video.pause();
    place();
  };
  const hold = c => {  // keep a playing recording in sync with the clock
    const off = c.video.currentTime - ownTime(c);
    if (Math.abs(off) > FAR) return jump(c, ownTime(c));
    c.video.playbackRate = 1 / c.rate - (Math.abs(off) > NEAR ? between(off, -0.1, 0.1) : 0);
  };
  const tick = now => {
    if (!playing) return;
    const inside = cameras.filter(c => isInside(c) && !c.broken);
    const isWaiting = inside.some(c => c.video.seeking || (c.video.readyState < 3 && ownTime(c) < c.duration - 0.2));
    if (!isWaiting) clock += Math.min((now - last) / 1000, 0.1);
    last = now;
    for (const c of cameras) {
      if (!inside.includes(c) || isWaiting) c.video.pause();
      else {
        if (c.video.paused && !c.video.ended) { hold(c); c.video.play().catch(() => {}); }
        hold(c);
      }
    }
    draw();
    if (clock >= ends()[1]) { clock = ends()[1]; return stop(); }
    requestAnimationFrame(tick);
  };
  const toggle = () => {
    if (playing) return stop();
    if (clock >= ends()[1] - 0.01) go(ends()[0]);
    playing = true;
    play.textContent = "Pause";
    requestAnimationFrame(now => { last = now; tick(now); });
  };
  const step = many => { stop(); go((Math.floor(clock * frames + 1e-3) + many) / frames); };

  for (const c of cameras) {
    const broken = () => { c.broken = true; draw(); };
    c.video.addEventListener("seeked", () => { if (c.wanted !== null) jump(c, c.wanted); });
    c.video.addEventListener("loadedmetadata", () => { if (isInside(c)) jump(c, ownTime(c) + INTO_FRAME); });
    c.video.addEventListener("error", broken);
    if (c.video.error) broken();
    const listen = c.box.querySelector(".listen");
    listen.checked = c.reference;
    c.video.muted = !c.reference;
    listen.addEventListener("change", () => { c.video.muted = !listen.checked; });
  }
  seek.addEventListener("input", () => { if (playing) stop(); go(Number(seek.value)); });
  play.addEventListener("click", toggle);
  wall.querySelector("[data-do=back]").addEventListener("click", () => step(-1));
  wall.querySelector("[data-do=forward]").addEventListener("click", () => step(1));
  document.addEventListener("keydown", event => {
    const field = event.target.closest("select, textarea, pre, input:not([type=range], [type=checkbox], [type=radio])");
    if (event.ctrlKey || event.metaKey || event.altKey || field) return;
    const many = event.shiftKey ? 10 : 1;
    if (event.key === " " && !event.target.closest("button, a, summary, [type=checkbox], [type=radio]")) toggle();
    else if (event.target.closest("[type=radio]")) return;
    else if (event.key === "ArrowLeft") step(-many);
    else if (event.key === "ArrowRight") step(many);
    else return;
    event.preventDefault();
  });

  // Offsets by hand: shown at once, saved a moment later.
  const rows = document.querySelectorAll("#offsets tbody tr");
  const save = async (c, output) => {
    const body = new URLSearchParams({token: wall.dataset.token, recording: c.box.dataset.number, offset: c.offset});
    output.classList.remove("error");
    try {
      const answer = await fetch(wall.dataset.save, {method: "POST", body, headers: {Accept: "application/json"}});
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      output.textContent = "saved";
      const row = [...rows].find(r => r.dataset.number === c.box.dataset.number), hand = document.createElement("span");
      hand.className = "rating hand";
      hand.textContent = "by hand";
      row.querySelector(".at").textContent = `${c.offset < 0 ? "-" : "+"}${Math.abs(c.offset).toFixed(4)} s`;
      row.querySelector(".sure").replaceChildren(hand);
      row.querySelector(".why").textContent = "set by hand";
    } catch (error) {
      output.classList.add("error");
      output.textContent = `not saved: ${error.message}`;
    }
  };
  for (const c of cameras.filter(c => !c.reference)) {
    const form = c.box.querySelector(".nudge"), input = form.querySelector(".offset"), output = form.querySelector(".saved");
    let later = 0;
    const set = to => {
      if (!Number.isFinite(to)) { output.classList.add("error"); output.textContent = "expected seconds, such as -1.25"; return; }
      c.offset = Math.round(to * 1e6) / 1e6;
      input.value = c.offset.toFixed(4);
      output.textContent = "";
      if (playing) stop();
      go(clock);
      clearTimeout(later);
      later = setTimeout(save, 400, c, output);
    };
    if (wall.dataset.fixed) { for (const part of form.querySelectorAll("button, .offset")) part.disabled = true; continue; }
    for (const button of form.querySelectorAll("button[type=button]"))
      button.addEventListener("click", () => set(c.offset + Number(button.dataset.seconds || button.dataset.frames / (c.frames || frames))));
    input.addEventListener("change", () => set(Number(input.value.trim().replace(",", ".").replace("−", "-") || NaN)));
    form.addEventListener("submit", event => { event.preventDefault(); input.blur(); });
  }
  go(Math.max(0, ...cameras.map(c => c.offset)) < ends()[1] ? Math.max(0, ...cameras.map(c => c.offset)) : 0);
}
