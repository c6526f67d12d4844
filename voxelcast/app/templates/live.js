"use strict";
// Filter while typing, sort without losing ticks, and follow runs: the page asks itself for its new state and takes over
// what is marked data-live. Without script the same page works by forms and links, and reloads while something runs.
(() => {
  const RUNNING = 1500, IDLE = 10000;
  const notice = document.getElementById("connection");
  let turn = 0;

  const takeOver = (fresh) => {
    const focused = document.activeElement?.id;
    const ticked = new Set([...document.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.id));
    for (const region of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(region.id);
      if (next && next.innerHTML !== region.innerHTML) region.replaceChildren(...next.childNodes);
    }
    for (const id of ticked) {
      const box = document.getElementById(id);
      if (box) box.checked = true;
    }
    if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
    document.title = fresh.title;
  };

  const load = async (address) => {
    const mine = ++turn;
    try {
      const answer = await fetch(address);
      const text = await answer.text();
      if (mine !== turn) return; // a newer question is under way
      notice.hidden = answer.ok;
      if (answer.ok) takeOver(new DOMParser().parseFromString(text, "text/html"));
      else notice.textContent = "This page cannot be read any more. Go back to all experiments.";
    } catch {
      if (mine !== turn) return;
      notice.textContent = "No answer: voxelcast view has ended. What you see is how it was then.";
      notice.hidden = false;
    }
  };

  const show = (address) => {
    history.replaceState(null, "", address);
    return load(address);
  };

  const form = document.getElementById("filter");
  if (form) {
    let typing;
    const ask = () => {
      const parts = [...new FormData(form)].filter(([, value]) => value !== "");
      show("/?" + new URLSearchParams(parts));
    };
    form.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(ask, 120);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask();
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-swap]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      show(link.getAttribute("href"));
    });
  }

  addEventListener("pagehide", () => turn++); // leaving the page ends what was asked; that is no failure

  const follow = async () => {
    if (!document.hidden) await load(location.pathname + location.search);
    setTimeout(follow, document.querySelector("[data-running]") ? RUNNING : IDLE);
  };
  if (document.querySelector("[data-live]")) setTimeout(follow, RUNNING);
})();
