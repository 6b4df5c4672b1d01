// What htmx does not do: say that a page is not current, and close the stream of a tab that nobody looks at.
"use strict";
(() => {
  const page = document.getElementById("page");
  const url = page && page.getAttribute("sse-connect");
  if (!url) return;
  const stale = document.getElementById("stale"), announced = document.getElementById("announced");
  const SILENCE = 35000;  // milliseconds; a sign of life comes every 15 s
  let source = null, silence = null, heardAt = new Date(), updates = 0;
  let announcedText = "", isOver = false, isPending = false, isExpected = false;

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
  // htmx connects again half a second after an error of a stream that is closed; one such attempt is enough.
  const reconnect = () => {
    source.close();
    if (!isPending) source.dispatchEvent(new Event("error"));
  };
  const fail = () => {
    isExpected = false;
    reconnect();
  };
  htmx.createEventSource = (address) => {
    if (source) source.close();
    isPending = isExpected = false;
    const made = source = new EventSource(address);
    clearTimeout(silence);
    if (document.hidden) made.close();
    else silence = setTimeout(fail, SILENCE);
    for (const name of ["open", "alive", "message"]) made.addEventListener(name, hear);
    made.addEventListener("gone", (event) => {
      isOver = true;
      clearTimeout(silence);
      warn("away", event.data + ".");
    });
    made.addEventListener("error", () => {
      isPending = made.readyState === EventSource.CLOSED;
      if (!document.hidden && !isOver && !isExpected) explain();
    });
    return made;
  };
  page.addEventListener("htmx:sseMessage", () => {
    updates += 1;
    const lead = page.querySelector(".lead");
    const text = lead ? lead.textContent.replace(/\s+/g, " ").trim() : document.title;
    if (updates > 1 && text !== announcedText) announced.textContent = announced.dataset.updated + " " + text;
    announcedText = text;
  });
  // A browser has few connections to one place. Nobody has lost anything when a tab is looked at again.
  document.addEventListener("visibilitychange", () => {
    if (isOver || !source) return;
    clearTimeout(silence);
    isExpected = true;
    if (document.hidden) source.close();
    else reconnect();
  });
})();
