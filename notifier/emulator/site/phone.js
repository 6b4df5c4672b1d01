// The phones of the demo: what the emulator has accepted is on their screens, and what is typed is replied.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const down = { kind: "error", status: 503, message: "Service unavailable", method: "*", path: "", times: null };
  let announcedAt = 0;
  const say = (text) => { byId("announced").textContent = text; announcedAt = Date.now(); };
  const send = async (path, body, method = "POST") => {
    try {
      const answer = await fetch("/emulator/" + path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
      if (!answer.ok) say("The emulator answers " + answer.status + ": " + ((await answer.json()).message || ""));
      await refresh();
    } catch {
      say("The emulator does not answer; the demo has ended.");
    }
  };
  const make = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const phones = new Map();
  const phoneOf = ({ name, number }) => {
    if (phones.has(number)) return phones.get(number);
    const screen = make("div", { class: "screen", role: "log", "aria-label": "Messages of " + name, tabindex: "0" });
    const field = make("input", { "aria-label": "Reply of " + name, placeholder: "ack", autocomplete: "off" });
    const form = make("form", {}, field, make("button", {}, "Reply"));
    const power = make("button", { type: "button", class: "second" }, "Switch off");
    const words = make("p", {}), answer = make("button", { type: "button" }, "Answer and press 1");
    const hangUp = make("button", { type: "button", class: "second" }, "Reject");
    const call = make("div", { class: "call", role: "alert", hidden: "" }, words, answer, hangUp);
    answer.addEventListener("click", () => send("keys", { phone: number, key: "1" }));
    hangUp.addEventListener("click", () => send("keys", { phone: number, key: "" }));
    const section = make("section", { class: "phone", "aria-label": "Phone of " + name }, make("h2", {}, name + " " + number, power), call, screen, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send("replies", { phone: number, text: field.value || "ack" });
      field.value = "";
    });
    const phone = { screen, section, power, form, call, words, shown: new Set(), isOff: false };
    power.addEventListener("click", () => {
      const off = new Set([...phones].filter(([, one]) => one.isOff).map(([key]) => key));
      if (!off.delete(number)) off.add(number);
      send("settings", { phones_off: [...off] });
    });
    phones.set(number, phone);
    byId("phones").append(section, inboxSection);
    return phone;
  };
  const withLinks = (text) => text.split(/(https?:\/\/\S+)/).map((part, number) => (
    number % 2 ? make("a", { href: part, target: "_blank", rel: "noopener" }, part) : part));
  const show = (phone, key, text, note, isMine) => {
    if (phone.shown.has(key)) return;
    phone.shown.add(key);
    phone.screen.append(make("div", { class: isMine ? "sms mine" : "sms" }, ...withLinks(text), make("small", {}, note)));
    phone.screen.scrollTop = phone.screen.scrollHeight;
  };
  const inbox = { screen: make("div", { class: "screen", role: "log", "aria-label": "Messages of the second channel", tabindex: "0" }), shown: new Set() };
  const inboxSection = make("section", { class: "phone", "aria-label": "Inbox" }, make("h2", {}, "Inbox"), inbox.screen);
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const refresh = async () => {
    const state = await (await fetch("/emulator/state")).json();
    const left = state.accounts.map((one) => one.name + ": " + one.credits + " credits left");
    const toFail = state.faults ? state.faults + (state.faults === 1 ? " call" : " calls") + " to fail" : "";
    byId("account").textContent = [...left, toFail].filter(Boolean).join(" \u00b7 ");
    for (const button of document.querySelectorAll("[data-fault], #down")) {
      const wanted = button.id === "down" ? down : JSON.parse(button.dataset.fault);
      const isArmed = state.armed.some((one) => one.kind === wanted.kind && one.times === wanted.times && (wanted.status === undefined || one.status === wanted.status));
      button.setAttribute("aria-pressed", String(isArmed));
    }
    byId("broke").setAttribute("aria-pressed", String(state.accounts.length > 0 && state.accounts[0].credits <= 0));
    byId("pages").href = state.pages || "/";
    for (const id of ["fire", "storm", "resolve"]) byId(id).disabled = !state.can_fire;
    for (const letter of state.inbox) {
      const title = letter.title ? letter.title + "\n" : "";
      show(inbox, letter.id, title + letter.text, "to " + letter.to + " · " + clock(letter.at), false);
    }
    for (const one of state.phones) {
      const phone = phoneOf(one);
      phone.isOff = one.is_off;
      phone.section.classList.toggle("off", one.is_off);
      for (const part of phone.form.elements) part.disabled = one.is_off;
      const words = one.ringing && !one.is_off ? "It rings: \u201c" + one.ringing + "\u201d" : "";
      if (phone.words.textContent !== words) phone.words.textContent = words;
      phone.call.hidden = !words;
      phone.power.textContent = one.is_off ? "Switch on" : "Switch off";
      for (const sms of one.messages) {
        const parts = sms.parts + (sms.parts === 1 ? " part, " : " parts, ") + sms.credits + (sms.credits === 1 ? " credit" : " credits");
        if (sms.is_reply) show(phone, "r" + sms.id, sms.text, clock(sms.at), true);
        else if (!one.is_off || sms.is_delivered) show(phone, "s" + sms.id, sms.text, sms.sender + " · " + clock(sms.at) + " · " + parts + (state.accounts.length > 1 ? " · by " + sms.account : ""), false);
      }
    }
  };
  byId("down").addEventListener("click", () => send("faults/everywhere", down));
  byId("fire").addEventListener("click", () => send("alerts", { status: "firing" }));
  byId("storm").addEventListener("click", () => send("alerts", { status: "storm" }));
  byId("resolve").addEventListener("click", () => send("alerts", { status: "resolved" }));
  byId("clear").addEventListener("click", async () => {
    await send("faults", undefined, "DELETE");
    await send("settings", { credits: 1000, status: "enable" });
  });
  for (const button of document.querySelectorAll("[data-fault]")) {
    const path = "everywhere" in button.dataset ? "faults/everywhere" : "faults";
    button.addEventListener("click", () => send(path, JSON.parse(button.dataset.fault)));
  }
  for (const button of document.querySelectorAll("[data-settings]")) {
    button.addEventListener("click", () => send("settings", JSON.parse(button.dataset.settings)));
  }
  const again = async () => {
    try {
      await refresh();
      if (Date.now() - announcedAt > 5000) byId("announced").textContent = "";
    } catch {
      say("The emulator does not answer; the demo has ended.");
    }
    setTimeout(again, 700);
  };
  again();
})();
