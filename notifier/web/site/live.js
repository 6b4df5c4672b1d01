// Keeps a page current over server-sent events. Everything works without it.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main || !window.EventSource) return;
  const said = document.getElementById("said");
  const path = encodeURIComponent(location.pathname + location.search);
  const source = new EventSource("/live?path=" + path);
  const isTyping = () => {
    const focused = document.activeElement;
    return focused && main.contains(focused) && focused.matches("select, input, textarea");
  };
  source.onmessage = (event) => {
    if (isTyping()) return;
    const open = [...main.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
    const focused = main.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.getAttribute("href") || focused.getAttribute("formaction") || focused.type);
    const chosen = main.querySelector("select") && main.querySelector("select").value;
    main.innerHTML = event.data;
    for (const one of main.querySelectorAll("details > summary")) {
      if (open.includes(one.textContent)) one.parentElement.open = true;
    }
    if (chosen && main.querySelector("select")) main.querySelector("select").value = chosen;
    if (key) {
      const again = [...main.querySelectorAll("a, button")].find((one) =>
        [one.getAttribute("href"), one.getAttribute("formaction"), one.type].includes(key));
      if (again) again.focus();
    }
    const heading = main.querySelector("h1");
    said.textContent = "Updated: " + (heading ? heading.textContent : "");
  };
})();
