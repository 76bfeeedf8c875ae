/* Batchdesk console: behaviours on data-* attributes. No framework, no inline code.
   Every behaviour is an addition: without this file links, forms, menus and drawers still work. Texts come from the
   page, so that they are translated with it. */
(() => {
  "use strict";
  const root = document.documentElement;
  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* a private window */ } },
  };
  const on = (type, selector, handle, options) =>
    document.addEventListener(type, (event) => {
      const target = event.target.closest?.(selector);
      if (target) handle(event, target);
    }, options);
  const text = (name) => document.body.dataset[`text${name}`];

  // Theme: a cookie, so that the server writes data-theme and no page flashes. Empty: as the system.
  on("click", "[data-theme-set]", (event, button) => {
    const theme = button.dataset.themeSet;
    document.cookie = `theme=${theme}; path=/; samesite=lax; max-age=${theme ? 31536000 : 0}`;
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.querySelector("meta[name=color-scheme]").content = theme || "light dark";
    for (const other of document.querySelectorAll("[data-theme-set]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  });

  // Dialogs: the server writes <dialog open>; here it becomes modal (focus trap, Esc, inert page).
  function upgradeDialogs(still = false) {
    for (const dialog of document.querySelectorAll("dialog[data-modal][open]:not(:modal)")) {
      dialog.toggleAttribute("data-still", still);
      dialog.removeAttribute("open");
      dialog.showModal();
      (dialog.querySelector("[autofocus]") || dialog.querySelector("h2"))?.focus({ preventScroll: true });
    }
    document.querySelectorAll("[data-unlocks]").forEach(lock);
    placeToasts();
    markCurrentRow();
  }
  function markCurrentRow() {
    const id = document.querySelector("dialog.drawer[data-row]")?.dataset.row;
    for (const row of document.querySelectorAll("#results tr[aria-current]")) row.removeAttribute("aria-current");
    if (id) document.getElementById(id)?.setAttribute("aria-current", "true");
  }
  // Closing a drawer shows the list, which is there already: the URL changes, the focus goes back to where it was.
  function leave(dialog, href) {
    const form = dialog.querySelector("form[data-dirty]");
    if (form && !confirm(form.dataset.textUnsaved || text("Unsaved"))) return;
    form?.removeAttribute("data-dirty");
    dialog.dispatchEvent(new Event("drawer:left", { bubbles: true }));
    dialog.close();
    if (dialog.dataset.over) { htmx.ajax("GET", dialog.dataset.over, "#drawer"); return; }  // the drawer it stood over
    if (!dialog.matches(".drawer") || !href) {
      // One that had the page to itself leaves the list there, under the list's own URL.
      if (href && new URL(href, location).pathname !== location.pathname) history.pushState({ htmx: true }, "", href);
      const focused = document.activeElement;
      if (focused === document.body || dialog.contains(focused)) document.getElementById(dialog.dataset.return)?.focus();
      placeToasts();
      return;
    }
    const back = document.getElementById(dialog.dataset.return) || document.querySelector("#results .stretched, main");
    dialog.parentElement.replaceChildren();
    placeToasts();
    markCurrentRow();
    history.pushState({ htmx: true }, "", href);
    document.title = (document.querySelector("main h1")?.textContent || "") + " · Batchdesk";
    back?.focus();
  }
  document.addEventListener("cancel", (event) => {                 // Esc
    const back = event.target.dataset?.back;
    if (back) { event.preventDefault(); leave(event.target, back); }
  }, true);
  on("click", "[data-close]", (event, button) => {
    const toast = button.closest(".toast");
    if (toast) { toast.remove(); return; }
    const dialog = button.closest("dialog");
    if (!dialog || !dialog.matches(":modal")) return;              // a plain link then
    event.preventDefault();
    leave(dialog, button.getAttribute("href"));
  });
  on("click", "[data-open]", (event, button) => {
    const dialog = document.getElementById(button.dataset.open);
    if (!dialog) return;
    event.preventDefault();
    button.closest("details")?.removeAttribute("open");
    dialog.showModal();
  });
  on("mousedown", "dialog[data-back]", (event, dialog) => {        // a press on the scrim
    if (event.target !== dialog || !dialog.matches(":modal")) return;
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) leave(dialog, dialog.dataset.back);
  });
  on("input", "form[data-guard]", (event, form) => { form.dataset.dirty = ""; });
  // Buttons that change the form itself leave something unsaved too; links to other steps would lose it.
  on("click", "form[data-guard] button[name=do]", (event, button) => { button.form.dataset.dirty = ""; });
  on("click", "a[data-leaves]", (event, link) => {
    const form = link.closest("dialog")?.querySelector("form[data-dirty]");
    if (!form || confirm(form.dataset.textUnsaved || text("Unsaved"))) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  // Menus: one open at a time; Esc and a press outside close; arrows walk the items.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  on("click", "details[data-menu] [hx-target='#drawer']", (event, link) => {  // what it opens gives the focus back here
    const menu = link.closest("details");
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  on("keydown", "details[data-menu]", (event, menu) => {
    if (event.key === "Escape" && menu.open) {
      event.preventDefault();
      event.stopPropagation();
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const items = [...menu.querySelectorAll(":scope > :not(summary) :is(a[href], button, input)")];
      if (!items.length) return;
      event.preventDefault();
      menu.open = true;
      const step = event.key === "ArrowDown" ? 1 : -1;
      const at = items.indexOf(document.activeElement);
      items.at(at < 0 && step < 0 ? -1 : (at + step) % items.length).focus();
    }
  });

  // Multi-select filter: the summary shows how many are ticked; "Clear" unticks.
  function countChecks(menu) {
    const badge = menu.querySelector("[data-checked-count]");
    const ticked = menu.querySelectorAll("input:checked").length;
    badge.textContent = ticked;
    badge.hidden = !ticked;
  }
  on("change", "details[data-multi] input", (event, input) => countChecks(input.closest("details")));
  on("click", "[data-clear]", (event, button) => {
    const menu = button.closest("details");
    for (const input of menu.querySelectorAll("input:checked")) input.checked = false;
    for (const input of menu.querySelectorAll("input:is([type=date], [type=hidden])")) input.value = "";
    if (menu.matches("[data-multi]")) countChecks(menu);
    menu.querySelector("input").dispatchEvent(new Event("change", { bubbles: true }));
  });

  // Another "Search by" brings another field: what was chosen from a list means nothing to it.
  document.addEventListener("change", (event) => {
    const field = event.target.matches?.("[data-search-by]") && event.target.form.querySelector("[data-search]");
    if (field && field.matches("select")) field.value = "";
  }, true);

  // Dropzone: its look while a file hovers over it. What becomes of the file is upload.js.
  for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    on(type, "[data-dropzone]", (event, zone) => {
      if (type === "dragleave" && zone.contains(event.relatedTarget)) return;
      zone.toggleAttribute("data-over", over);
    });
  }

  // Copy: says so in the button and to screen readers.
  on("click", "[data-copy]", async (event, button) => {
    const label = button.querySelector("span");
    const before = label.textContent;
    try { await navigator.clipboard.writeText(button.dataset.copy); label.textContent = text("Copied"); }
    catch { label.textContent = text("CopyByHand"); }
    label.setAttribute("role", "status");
    setTimeout(() => { label.textContent = before; label.removeAttribute("role"); }, 2000);
  });

  // Charts: the figure's <output> shows what is under the pointer.
  on("pointerover", "[data-readout]", (event, day) => {
    const output = day.closest("figure")?.querySelector("output");
    if (output) { output.dataset.rest ??= output.textContent; output.textContent = day.dataset.readout; }
  });
  on("pointerout", "[data-readout]", (event, day) => {
    const output = day.closest("figure")?.querySelector("output");
    if (output?.dataset.rest) output.textContent = output.dataset.rest;
  });

  // Clocks that run between two polls.
  setInterval(() => {
    for (const clock of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(Math.floor(Date.now() / 1000 - clock.dataset.since), 0);
      const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
      const two = (n) => String(n).padStart(2, "0");
      clock.textContent = h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
    }
  }, 1000);

  on("click", "[data-reveal]", (event, button) => {
    const input = document.getElementById(button.dataset.reveal);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
  });
  on("click", "[data-print]", () => print());
  // A button that stays off until its box is ticked; the server checks it again.
  function lock(box) {
    const button = document.getElementById(box.dataset.unlocks);
    if (button) button.disabled = !box.checked;
  }
  on("change", "[data-unlocks]", (event, box) => lock(box));
  // A modal stands in the top layer and would print one page only: while printing it is a plain block.
  addEventListener("beforeprint", () => {
    for (const dialog of document.querySelectorAll("dialog[data-modal]:modal")) {
      dialog.close();
      dialog.setAttribute("open", "");
    }
  });
  addEventListener("afterprint", () => upgradeDialogs(true));

  // Toasts pass after a while, but not under the pointer or focus. What is outside a modal is inert, so they go inside.
  function placeToasts() {
    const toasts = document.querySelector(".toasts");
    const home = [...document.querySelectorAll("dialog:modal")].at(-1) || document.body;
    if (toasts && toasts.parentElement !== home) home.append(toasts);
  }
  function passLater(toast) {
    setTimeout(() => (toast.matches(":hover, :focus-within") ? passLater(toast) : toast.remove()), 7000);
  }
  function toast(sentence) {
    placeToasts();
    const item = document.getElementById("toast-template").content.cloneNode(true).firstElementChild;
    item.querySelector("p").textContent = sentence;
    document.querySelector(".toasts").append(item);
  }

  // Keyboard. Single keys never fire while typing and can be switched off (WCAG 2.1.4).
  let waitingForGo = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || store.get("shortcuts") === "off") return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) return;
    if (document.querySelector("dialog:modal")) return;
    const rows = [...document.querySelectorAll("tbody .stretched")];
    const at = rows.indexOf(document.activeElement);
    if (waitingForGo) {
      waitingForGo = false;
      document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)?.click();
      return;
    }
    switch (event.key) {
      case "/": event.preventDefault(); document.querySelector("[data-search]")?.focus(); break;
      case "?": document.getElementById("shortcuts")?.showModal(); break;
      case "n": document.querySelector("[data-new]")?.click(); break;
      case "j": rows[Math.min(at + 1, rows.length - 1)]?.focus(); break;
      case "k": rows[Math.max(at - 1, 0)]?.focus(); break;
      case "g": waitingForGo = true; setTimeout(() => { waitingForGo = false; }, 1000); break;
    }
  });
  on("change", "[data-shortcuts-on]", (event, box) => store.set("shortcuts", box.checked ? "on" : "off"));

  // HTMX. Empty fields stay out of the URL; the poll asks for what is on the page now.
  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, verb, parameters } = event.detail;
    if (verb !== "get") return;
    if (elt.hasAttribute("data-live-poll")) {
      for (const row of document.querySelectorAll("tr[data-live]")) parameters.append(elt.dataset.livePoll, row.dataset.live);
      const opened = document.querySelector("dialog.drawer [data-live]:not(.pill)");
      if (opened) parameters.append("open", opened.dataset.live);
      parameters.append("query", location.search);
      return;
    }
    for (const name of new Set(Object.keys(parameters))) if (parameters[name] === "") delete parameters[name];
  });
  // Parts that are replaced stay unfolded, and a whole page is never put into a part of one.
  const unfolded = new Map();
  document.addEventListener("toggle", (event) => {
    if (event.target.id && event.target.matches?.("details")) unfolded.set(event.target.id, event.target.open);
  }, true);
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (/^\s*<!doctype/i.test(xhr.responseText) && xhr.status < 400) {
      event.detail.shouldSwap = false;
      location.assign(xhr.responseURL);
    }
    wasModal = Boolean(document.querySelector("dialog.drawer:modal"));
    focused = document.activeElement?.id || "";
    const toasts = document.querySelector(".toasts");
    if (toasts && event.detail.target?.id === "drawer") document.body.append(toasts);
  });
  let wasModal = false;
  let focused = "";                                                // what is inside of a folded part cannot have it yet
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "drawer") unfolded.clear();
    else unfold(event.target);
    upgradeDialogs(wasModal);
  });
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    unfold(event.target);
    markCurrentRow();
  });
  function unfold(part) {
    for (const details of part.querySelectorAll?.("details[id]") || []) {
      if (!unfolded.has(details.id)) continue;
      details.open = unfolded.get(details.id) || Boolean(details.querySelector("[aria-invalid=true]"));
      const inside = focused && details.querySelector(`#${CSS.escape(focused)}`);
      if (inside && inside !== document.activeElement) inside.focus({ preventScroll: true });
    }
  }
  document.addEventListener("htmx:afterSettle", (event) => {
    event.target.querySelector?.("[aria-invalid=true]")?.focus();
  });
  for (const [type, name] of [["htmx:sendError", "Unreachable"], ["htmx:responseError", "Refused"]]) {
    document.addEventListener(type, (event) => {
      if (!event.detail.elt.hasAttribute("data-live-poll")) toast(text(name));
    });
  }

  for (const fold of document.querySelectorAll("[data-fold-narrow]")) {  // where its summary shows, there is no room
    fold.open = !fold.querySelector("summary").checkVisibility();
  }
  upgradeDialogs(true);
  document.querySelectorAll(".toast").forEach(passLater);
  document.querySelectorAll("details[data-multi]").forEach(countChecks);
  const box = document.querySelector("[data-shortcuts-on]");
  if (box) box.checked = store.get("shortcuts") !== "off";
})();
