// Live progress, the picture under the pointer, and the player. Without JavaScript, pages still show all information.
"use strict";

const POLL_MS = 2000;

// Progress: short requests, none while the page is hidden.
for (const panel of document.querySelectorAll("[data-live]")) {
  let last = "";
  const fresh = document.querySelector(".fresh");
  const poll = async () => {
    if (!document.hidden) {
      try {
        const told = await (await fetch(panel.dataset.live, {headers: {Accept: "application/json"}})).json();
        if (told.html && told.html !== last && !panel.contains(document.activeElement)) panel.innerHTML = last = told.html;
        if (fresh && told.stamp !== undefined && told.stamp !== panel.dataset.stamp) fresh.hidden = false;
      } catch { /* the next one will do */ }
    }
    setTimeout(poll, POLL_MS);
  };
  setTimeout(poll, POLL_MS);
}

// Notes dismissed in this browser. A note with a changed text is shown again.
const DISMISSED = "framewise-dismissed-notes";
const dismissed = () => new Set(JSON.parse(localStorage.getItem(DISMISSED) || "[]"));
const keep = topics => localStorage.setItem(DISMISSED, JSON.stringify([...topics].slice(-500)));
for (const panel of document.querySelectorAll(".warnings")) {
  const notes = [...panel.querySelectorAll("[data-topic]")];
  if (!notes.length) continue;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "again";
  const draw = () => {
    const gone = dismissed(), hidden = notes.filter(note => gone.has(note.dataset.topic)).length;
    for (const note of notes) note.hidden = gone.has(note.dataset.topic);
    again.hidden = !hidden;
    again.textContent = `Show ${hidden} dismissed note${hidden === 1 ? "" : "s"}`;
  };
  for (const note of notes) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "dismiss";
    button.textContent = "Dismiss";
    button.addEventListener("click", () => { keep(dismissed().add(note.dataset.topic)); draw(); again.focus(); });
    note.append(button);
  }
  again.addEventListener("click", () => {
    keep([...dismissed()].filter(topic => !notes.some(note => note.dataset.topic === topic)));
    draw();
  });
  panel.append(again);
  draw();
}

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const lanes = timeline => timeline.querySelectorAll(".ribbon");

// Frame at a position on the screen, 1-based.
const frameAt = (timeline, clientX, frames) => {
  const box = timeline.querySelector(".lane").getBoundingClientRect();
  return clamp(Math.floor((clientX - box.left) / box.width * frames) + 1, 1, frames);
};
const mark = (timeline, frame) => {
  for (const line of timeline.querySelectorAll(".cursor")) {
    line.setAttribute("x1", frame - 0.5);
    line.setAttribute("x2", frame - 0.5);
  }
};

// Lists: picture and number of the frame under the pointer, or chosen with the arrow keys.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("role", "status");
const image = document.createElement("img"), number = document.createElement("div");
image.alt = "";
tip.append(image, number);
let wanted = 0;
const show = (timeline, frame) => {
  const frames = Number(timeline.dataset.frames), box = timeline.querySelector(".lane").getBoundingClientRect();
  if (!tip.isConnected) document.body.append(tip);
  tip.hidden = false;
  number.textContent = `${timeline.dataset.unit} ${frame}`;
  mark(timeline, frame);
  image.hidden = !timeline.dataset.pictures;
  clearTimeout(wanted);
  if (timeline.dataset.pictures)
    wanted = setTimeout(() => { image.src = timeline.dataset.pictures.replace("%7Bframe%7D", frame).replace("{frame}", frame); }, 70);
  const x = box.left + (frame - 0.5) / frames * box.width, width = tip.offsetWidth;
  tip.style.left = `${clamp(x - width / 2, 4, document.documentElement.clientWidth - width - 4)}px`;
  const above = box.top - tip.offsetHeight - 8;
  tip.style.top = `${above > 0 ? above : timeline.getBoundingClientRect().bottom + 8}px`;
};
image.addEventListener("error", () => { image.hidden = true; });
for (const timeline of document.querySelectorAll(".strip .timeline")) {
  const frames = Number(timeline.dataset.frames);
  let frame = 1;
  const hide = () => { tip.hidden = true; mark(timeline, -1); };
  timeline.addEventListener("pointermove", event => show(timeline, frame = frameAt(timeline, event.clientX, frames)));
  timeline.addEventListener("pointerleave", hide);
  timeline.addEventListener("focus", () => { if (timeline.matches(":focus-visible")) show(timeline, frame); });
  timeline.addEventListener("blur", hide);
  timeline.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key] * (event.shiftKey ? 10 : 1);
    if (event.key === "Home") frame = 1;
    else if (event.key === "End") frame = frames;
    else if (event.key === "Escape") return hide();
    else if (step) frame = clamp(frame + step, 1, frames);
    else return;
    event.preventDefault();
    show(timeline, frame);
  });
}
// Pictures that were refused because of too many requests are requested again.
for (const film of document.querySelectorAll("img.film")) {
  let tries = 0;
  const again = () => { if (tries++ < 6) setTimeout(() => { film.src = film.src; }, 700 * tries); else film.hidden = true; };
  film.addEventListener("error", again);
  if (film.complete && !film.naturalWidth && film.loading !== "lazy") again();
}

// The player. Seek times are the editor's: see core/frame_grid.
const player = document.querySelector(".player");
const video = player?.querySelector("video");
const whole = player?.querySelector(".whole");
if (player && (video || whole)) {
  const frames = Math.max(Number(player.dataset.frames), 1), rate = Number(player.dataset.rate), zoom = player.querySelector(".zoom");
  const output = player.querySelector("output"), play = player.querySelector("[data-do=play]");
  const span = clamp(Math.round(rate * 8), 20, frames);
  const last = () => Number(player.dataset.frames) || Math.max(1, Math.floor((video?.duration || 0) * rate + 0.5));
  let frame = 1, speed = 0, backwards = 0;
  const seconds = n => Math.floor((n - 1) / rate / 0.002 + 0.5) * 0.002 + 0.002;
  const draw = () => {
    if (output) output.textContent = `frame ${frame}`;
    if (!whole) return;
    mark(whole, frame);
    whole.setAttribute("aria-valuenow", frame);
    mark(zoom, frame);
    for (const svg of lanes(zoom)) svg.setAttribute("viewBox", `${clamp(frame - span / 2, 0, frames - span)} 0 ${span} ${svg.getAttribute("height")}`);
  };
  const follow = () => { if (video) frame = clamp(Math.floor(video.currentTime * rate + 1e-6) + 1, 1, last()); draw(); };
  const go = to => { frame = clamp(to, 1, last()); if (video) video.currentTime = seconds(frame); draw(); };
  const stop = () => { speed = 0; clearInterval(backwards); backwards = 0; video?.pause(); };
  const forwards = faster => { clearInterval(backwards); backwards = 0; speed = faster; video.playbackRate = faster; video.play().catch(() => {}); };
  const reverse = () => {
    video.pause();
    speed = Math.max(speed < 0 ? speed * 2 : -1, -8);
    clearInterval(backwards);
    backwards = setInterval(() => { if (frame > 1) go(frame + Math.min(-1, Math.round(speed * rate / 10))); else stop(); }, 100);
  };
  const toggle = () => { if (!video) return; if (!video.paused || backwards) stop(); else forwards(1); };
  if (video) {
    video.controls = false;
    const tick = () => { if (!video.paused) { follow(); requestAnimationFrame(tick); } };
    video.addEventListener("play", () => { play.textContent = "Pause"; tick(); });
    video.addEventListener("pause", () => { play.textContent = "Play"; });
    video.addEventListener("click", toggle);
    video.addEventListener("error", () => { output.textContent = "this browser cannot play the file"; });
    play.addEventListener("click", toggle);
    player.querySelector("[data-do=back]").addEventListener("click", () => { stop(); go(frame - 1); });
    player.querySelector("[data-do=forward]").addEventListener("click", () => { stop(); go(frame + 1); });
  }
  whole?.addEventListener("pointerdown", event => { stop(); go(frameAt(whole, event.clientX, frames)); });
  whole?.addEventListener("pointermove", event => { if (event.buttons & 1) go(frameAt(whole, event.clientX, frames)); });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input, textarea")) return;
    const key = event.key.toLowerCase(), many = event.shiftKey ? 10 : 1;
    if (key === " " && !event.target.closest("button, a, summary")) toggle();
    else if (key === "arrowleft") { stop(); go(frame - many); }
    else if (key === "arrowright") { stop(); go(frame + many); }
    else if (key === "home" && whole === document.activeElement) go(1);
    else if (key === "end" && whole === document.activeElement) go(last());
    else if (key === "j" && video) reverse();
    else if (key === "k" && video) stop();
    else if (key === "l" && video) forwards(speed >= 1 ? Math.min(speed * 2, 8) : 1);
    else return;
    event.preventDefault();
  });
  draw();
}
