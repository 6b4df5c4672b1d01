// What htmx does not do: say that a page is not current, and close the stream of a tab that nobody looks at.
"use strict";
(() => {
  const page = document.getElementById("page");
  const url = page && page.getAttribute("sse-connect");
  if (!url) return;
  const stale = document.getElementById("stale"), announced = document.getElementById("announced");
  const SILENCE = 35000;  // milliseconds; a sign of life comes every 15 s
  let source = null, silence = null, heardAt = new Date(), updates = 0, isOver = false;

  // What somebody has opened or typed stays, whatever the server sends.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !(name === "open" && element.matches("details")) && !(name === "value" && element.matches("textarea"));

  const warn = (key, detail) => {
    const time = heardAt.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
    stale.hidden = false;
    document.body.classList.add("is-stale");
    stale.textContent = stale.dataset.since.replace("{time}", time) + " " + (detail || stale.dataset[key]);
  };
  const hear = () => {
    heardAt = new Date();
    stale.hidden = true;
    document.body.classList.remove("is-stale");
    clearTimeout(silence);
    silence = setTimeout(fail, SILENCE);
  };
  // An EventSource does not give the reason why it ended: ask once more.
  const explain = async () => {
    clearTimeout(silence);
    warn("away");
    const asking = new AbortController();
    try {
      const answer = await fetch(url, { signal: asking.signal });
      if (answer.status === 401) warn("signin");
      else if (!answer.ok) warn("away", (await answer.text()).trim().slice(0, 200));
    } catch {
      return;
    } finally {
      asking.abort();
    }
  };
  // htmx connects again after an error of a stream that is closed.
  const fail = () => {
    source.close();
    source.dispatchEvent(new Event("error"));
  };
  htmx.createEventSource = (address) => {
    source = new EventSource(address);
    source.addEventListener("open", hear);
    source.addEventListener("alive", hear);
    source.addEventListener("message", hear);
    source.addEventListener("gone", (event) => {
      isOver = true;
      clearTimeout(silence);
      warn("away", event.data + ".");
    });
    source.addEventListener("error", () => { if (!document.hidden && !isOver) explain(); });
    clearTimeout(silence);
    silence = setTimeout(fail, SILENCE);
    if (document.hidden) source.close();
    return source;
  };
  page.addEventListener("htmx:sseMessage", () => {
    updates += 1;
    const heading = page.querySelector("h1");
    if (updates > 1 && heading) announced.textContent = announced.dataset.updated + " " + heading.textContent.trim();
  });
  // A browser has few connections to one place.
  document.addEventListener("visibilitychange", () => {
    if (isOver || !source) return;
    clearTimeout(silence);
    if (document.hidden) source.close();
    else fail();
  });
})();
