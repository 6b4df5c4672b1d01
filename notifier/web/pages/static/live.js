// Keeps a page current over server-sent events, and says so when it cannot. Everything works without it.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main || !window.EventSource) return;
  const announced = document.getElementById("announced"), stale = document.getElementById("stale");
  const path = encodeURIComponent(location.pathname + location.search);
  const SILENCE = 35000;  // milliseconds; a sign of life comes every 15 s
  let source = null, heardAt = new Date(), updates = 0, waiting = null, silence = null;

  // A part that holds what is being typed or chosen is not taken away: its hidden fields and buttons alone follow.
  const follow = (old, fresh) => {
    for (const [selector, set] of [
      ["input[type=hidden]", (one, other) => { one.value = other.value; }],
      ["button", (one, other) => { one.textContent = other.textContent; }],
    ]) {
      const before = [...old.querySelectorAll(selector)], after = [...fresh.querySelectorAll(selector)];
      if (before.length !== after.length) return false;
      before.forEach((one, number) => set(one, after[number]));
    }
    return true;
  };
  const swap = (old, fresh) => {
    if (old.innerHTML === fresh.innerHTML) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    if (focused && focused.matches("select, input, textarea") && follow(old, fresh)) return;
    const open = [...old.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
    const select = old.querySelector("select"), chosen = select && select.value;
    const names = (one) => [one.getAttribute("href"), one.value, one.textContent].find(Boolean);
    const key = focused && names(focused);
    old.replaceChildren(...fresh.childNodes);
    for (const one of old.querySelectorAll("details > summary")) {
      if (open.includes(one.textContent)) one.parentElement.open = true;
    }
    if (chosen && old.querySelector("select")) old.querySelector("select").value = chosen;
    const again = key && [...old.querySelectorAll("a, button")].find((one) => names(one) === key);
    if (again) again.focus();
  };
  const update = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    const title = fresh.querySelector("[data-title]");
    if (title) {
      document.title = title.dataset.title + " \u00b7 Notifier";
      title.remove();
    }
    const parts = (root) => [...root.children].map((one) => one.dataset.part || one.tagName).join();
    if (parts(fresh) === parts(main)) {
      [...main.children].forEach((old, number) => swap(old, fresh.children[number]));
    } else {
      main.replaceChildren(...fresh.childNodes);
    }
    updates += 1;
    if (updates > 1) {
      const heading = main.querySelector("h1");
      announced.textContent = "Updated: " + (heading ? heading.textContent.trim() : "");
    }
  };
  const warn = (reason) => {
    const time = heardAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    stale.hidden = false;
    stale.textContent = "Not updated since " + time + " by this device's clock: " + reason;
  };
  // An EventSource does not give the reason why it ended: ask once more.
  const explain = async () => {
    warn("Notifier cannot be reached. Trying again\u2026");
    const asking = new AbortController();
    try {
      const answer = await fetch("/live?path=" + path, { signal: asking.signal });
      if (answer.status === 401) warn("Notifier asks for the password again. Reload this page.");
      else if (!answer.ok) warn((await answer.text()).trim().slice(0, 200) + " Trying again\u2026");
    } catch {
      return;
    } finally {
      asking.abort();
    }
  };
  const later = () => {
    if (waiting === null) waiting = setTimeout(() => { waiting = null; listen(); }, 3000);
  };
  const hear = () => {
    heardAt = new Date();
    stale.hidden = true;
    clearTimeout(silence);
    silence = setTimeout(fail, SILENCE);
  };
  const fail = () => {
    if (source) source.close();
    clearTimeout(silence);
    explain();
    later();
  };
  const listen = () => {
    if (source) source.close();
    source = new EventSource("/live?path=" + path);
    clearTimeout(silence);
    silence = setTimeout(fail, SILENCE);
    source.addEventListener("alive", hear);
    source.onmessage = (event) => { hear(); update(event.data); };
    source.addEventListener("gone", (event) => {
      source.close();
      clearTimeout(silence);
      warn(event.data + ".");
    });
    source.onerror = fail;
  };
  // A tab that nobody looks at asks for nothing: a browser has few connections to one place.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source) source.close();
      clearTimeout(silence);
      clearTimeout(waiting);
      waiting = null;
    } else {
      listen();
    }
  });
  if (!document.hidden) listen();
})();
