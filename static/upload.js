/* Batchdesk: a chosen file goes to the server at once, in slices, and survives a cut (batchjobs/upload_views.py, tus 1.0).
   The form then sends the upload's id instead of the bytes. Texts and limits come from the page. */
(() => {
  "use strict";
  const WAITS = [1, 2, 4, 8, 16, 30];        // seconds between tries
  const SILENCE = 60000;                     // without any progress a connection counts as lost
  const QUIET = 400;                         // after the last choice, before the form asks what follows from it
  const PACE = 8000;                         // the speed is that of the last seconds
  const on = (type, selector, handle) =>
    document.addEventListener(type, (event) => {
      const target = event.target.closest?.(selector);
      if (target) handle(event, target);
    });
  const filled = (text, ...values) => values.reduce((done, value, n) => done.replace(`%${n + 1}`, value), text);
  const bytes = (size) => {
    const unit = size < 1e6 ? ["KB", 1e3, 0] : size < 1e9 ? ["MB", 1e6, 1] : ["GB", 1e9, 1];
    return `${(size / unit[1]).toLocaleString(document.documentElement.lang, { maximumFractionDigits: unit[2] })}\u00a0${unit[0]}`;
  };
  const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  const markOf = (file) => `${file.size}-${file.lastModified}`;

  class Refused extends Error {}             // trying again would not help
  class Gone extends Error {}                // the server has no such upload

  class Upload {
    constructor(panel, { file, name, size, url = "" }) {
      Object.assign(this, { panel, file, name, size, url, offset: 0, tries: 0, turn: 0, state: "", then: false });
      this.pace = [];
      uploads.set(panel, this);
    }
    get form() { return this.panel.closest("form"); }
    get underWay() { return this.state === "sending" || this.state === "waiting"; }
    part(name) { return this.panel.querySelector(`[data-upload-${name}]`); }

    // One run at a time: a later one, a pause or a drawer that is gone ends the earlier.
    async go() {
      this.halt();
      const turn = this.turn;
      const goesOn = () => turn === this.turn && this.panel.isConnected;
      let known = !this.url;
      while (goesOn()) {
        try {
          if (!this.url) await this.begin();
          else if (!known) await this.ask();
          known = true;
          if (!goesOn()) return;
          this.show("sending");
          while (this.offset < this.size) {
            await this.send();
            if (!goesOn()) return;
          }
          this.finish();
          return;
        } catch (error) {
          if (!goesOn()) return;
          known = false;
          if (error instanceof Refused) { this.fail(error.message); return; }
          if (error instanceof Gone) {
            Object.assign(this, { url: "", offset: 0 });
            if (!this.tries++) continue;                             // from the start, at once the first time
          }
          if (!(await this.readable())) { this.fail(this.panel.dataset.textChanged); return; }
          if (!goesOn()) return;
          this.show("waiting");
          await this.wait();
        }
      }
    }
    async begin() {
      const metadata = `filename ${base64(this.name)},mark ${base64(markOf(this.file))}`;
      const answer = await this.request("POST", this.panel.dataset.url, { "Upload-Length": this.size, "Upload-Metadata": metadata });
      if (answer.status !== 201) throw this.refusal(answer);
      this.url = answer.getResponseHeader("Location");
      this.offset = 0;
    }
    async ask() {
      const answer = await this.request("HEAD", this.url);
      const offset = answer.getResponseHeader("Upload-Offset");
      if (answer.status !== 200 || offset === null) throw this.refusal(answer);
      this.offset = Number(offset);
      this.pace = [];
    }
    async send() {
      const slice = this.file.slice(this.offset, this.offset + Number(this.panel.dataset.slice));
      const headers = { "Upload-Offset": this.offset, "Content-Type": "application/offset+octet-stream" };
      const answer = await this.request("PATCH", this.url, headers, slice);
      if (answer.status !== 204) throw this.refusal(answer);
      this.offset = Number(answer.getResponseHeader("Upload-Offset"));
      this.tries = 0;
      this.look();
      this.draw(0);
    }
    // A network error, silence and what may pass by itself reject with a plain Error: it is tried again.
    request(method, url, headers = {}, body = null) {
      return new Promise((resolve, reject) => {
        const xhr = this.xhr = new XMLHttpRequest();
        let heard = Date.now();
        const watch = setInterval(() => { if (Date.now() - heard > SILENCE) xhr.abort(); }, 1000);
        xhr.open(method, url);
        xhr.setRequestHeader("Tus-Resumable", "1.0.0");
        xhr.setRequestHeader("X-CSRFToken", this.form.elements.csrfmiddlewaretoken.value);
        for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
        if (body) xhr.upload.onprogress = (event) => { heard = Date.now(); this.draw(event.loaded); };
        xhr.onload = () => resolve(xhr);
        xhr.onerror = xhr.onabort = () => reject(new Error("connection lost"));
        xhr.onloadend = () => clearInterval(watch);
        xhr.send(body);
      });
    }
    refusal(answer) {
      if (this.url && [404, 410].includes(answer.status)) return new Gone();
      if (answer.status >= 500 || [0, 408, 409, 429].includes(answer.status)) return new Error(String(answer.status));
      let said = "";
      try { said = JSON.parse(answer.responseText).detail; } catch { /* a page, such as the one to sign in */ }
      return new Refused(said || this.panel.dataset.textRefused);
    }
    async readable() {
      try { await this.file.slice(this.offset, this.offset + 1).arrayBuffer(); return true; } catch { return false; }
    }
    wait() {
      const seconds = WAITS[Math.min(this.tries++, WAITS.length - 1)];
      return new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, seconds * 1000);
      });
    }

    halt() {
      this.turn += 1;
      this.xhr?.abort();
      this.wake?.();
    }
    pause() {
      if (!this.underWay) return;
      this.halt();
      this.show("paused");
    }
    fail(sentence) {
      const { form, panel } = this;
      this.show("failed");
      if (!this.url) {                                               // it was refused before it began
        uploads.delete(panel);
        reset(panel, "");
      }
      fileError(form, sentence);
    }
    async stop() {
      this.halt();
      uploads.delete(this.panel);
      const { url, panel } = this;
      reset(panel, panel.dataset.textStopped);
      if (url) await this.request("DELETE", url).catch(() => {});   // if it does not get there, it expires
    }
    get id() { return this.url.split("/").filter(Boolean).pop(); }
    // The beginning of the file is here: the form can ask what is in it.
    look() {
      if (this.part("looking").value === this.id) return;
      this.part("looking").value = this.id;
      relook();
    }
    finish() {
      this.part("id").value = this.id;
      this.look();
      this.show("done");
      lookAgain();
      const { form, then } = this;
      this.then = false;
      if (then) form.requestSubmit(submitOf(form));
    }

    show(state) {
      const { form, panel } = this;
      const { dataset } = panel;
      this.state = state;
      if (!this.underWay) this.then &&= state === "done";
      this.part("card").hidden = false;
      this.part("card").dataset.state = state;
      this.part("name").textContent = this.name;
      this.part("pause").hidden = !this.underWay;
      this.part("resume").hidden = !["paused", "waiting", "failed"].includes(state);
      const again = this.part("resume");
      again.querySelector("span").textContent = state === "waiting" ? again.dataset.textTry : again.dataset.textResume;
      this.part("after").hidden = true;
      const said = { waiting: dataset.textLost, paused: dataset.textPaused, done: dataset.textDone }[state] || "";
      const later = this.then ? (state === "done" ? dataset.textStarting : dataset.textThen) : "";
      this.part("said").textContent = state === "done" && later ? later : [said, later].filter(Boolean).join(" ");
      if (this.underWay) form.dataset.textUnsaved = dataset.textUnsaved;
      else delete form.dataset.textUnsaved;
      submitOf(form)?.toggleAttribute("aria-busy", false);
      if (this.then) submitOf(form)?.setAttribute("aria-busy", "true");
      if (state === "sending") fileError(form, "");
      this.draw(0);
    }
    draw(loaded) {
      const { dataset } = this.panel;
      const here = this.state === "done" ? this.size : Math.min(this.offset + loaded, this.size);
      const bar = this.panel.querySelector("progress");
      bar.value = this.size ? 100 * here / this.size : 100;
      bar.dataset.tone = { done: "ok", failed: "bad", paused: "idle", waiting: "idle" }[this.state] || "";
      this.part("amount").textContent = this.state === "done" ? bytes(this.size) : filled(dataset.textOf, bytes(here), bytes(this.size));
      const now = Date.now();
      this.pace = [...this.pace.filter(([at]) => now - at < PACE), [now, here]];
      const [since, before] = this.pace[0];
      const speed = now - since > 500 ? (here - before) / (now - since) * 1000 : 0;
      const shown = this.state === "sending" && speed > 0;
      this.part("pace").textContent = shown ? [filled(dataset.textSpeed, bytes(speed)), this.left(here, speed)].filter(Boolean).map((part) => ` · ${part}`).join("") : "";
    }
    left(here, speed) {
      if (here < this.size / 20) return "";                          // no guess so early
      const minutes = Math.round((this.size - here) / speed / 60);
      const { dataset } = this.panel;
      if (minutes < 1) return dataset.textMinute;
      if (minutes < 60) return filled(dataset.textMinutes, minutes);
      return filled(dataset.textHours, Math.floor(minutes / 60), minutes % 60);
    }
  }

  // What the form asks depends on the file and on what was chosen so far. It is asked for again when somebody has stopped
  // choosing: an answer replaces the fields, so that one on its way must neither overwrite a newer choice nor close a
  // list that was just opened.
  let asking = 0;                            // the timer, or true while an answer is due
  const hold = () => {
    clearTimeout(asking);
    htmx.trigger("#job-questions", "htmx:abort");
  };
  const relook = () => {
    hold();
    asking = true;
    htmx.trigger("#job-questions", "look");
  };
  const relookSoon = () => {
    hold();
    asking = setTimeout(relook, QUIET);
  };
  on("input", "#job-form", ({ target }, form) => {
    if (target.name === "record_type") relook();
    else if (target.closest("#job-questions") && form.querySelector("[data-looked]")) relookSoon();
  });
  on("submit", "#job-find", (event) => event.preventDefault());       // what is typed has been asked already
  on("pointerdown", "#job-questions select", () => { if (asking) hold(); });
  on("focusout", "#job-questions select", () => { if (asking) relookSoon(); });
  document.addEventListener("htmx:afterSettle", ({ target }) => {
    if (target.id !== "job-questions") return;
    asking = 0;
    lookAgain();
  });
  // The beginning of the file was not enough, and now there is more.
  const lookAgain = () => {
    if (document.querySelector("#job-questions[data-look-again]") && active()?.state === "done") relook();
  };

  const uploads = new WeakMap();             // panel -> its Upload
  const panelOf = (inside) => inside.closest("form")?.querySelector("[data-uploads]");
  const submitOf = (form) => document.querySelector(`button[type=submit][form="${form.id}"]`);
  const active = () => {
    const panel = document.querySelector("[data-uploads]");
    return panel && uploads.get(panel);
  };
  function uploadOf(panel) {
    if (uploads.has(panel)) return uploads.get(panel);
    const id = panel.querySelector("[data-upload-id]").value;        // chosen when the page was written
    if (!id) return undefined;
    const upload = new Upload(panel, { name: panel.querySelector("[data-upload-name]").textContent, url: `${panel.dataset.url}${id}/` });
    upload.state = "done";
    return upload;
  }
  function fileError(form, sentence) {
    const error = form?.querySelector("[data-file-error]");
    if (!error) return;
    error.hidden = !sentence;
    error.querySelector("span").textContent = sentence;
  }
  function zone(form, file) {
    const input = form.querySelector("[data-dropzone] input[type=file]");
    const said = form.querySelector("[data-file-name]");
    said.textContent = file ? `${file.name}, ${bytes(file.size)}` : said.dataset.rest;
    input.closest("[data-dropzone]").toggleAttribute("data-chosen", Boolean(file));
    input.required = !file;
    input.setCustomValidity("");
    input.removeAttribute("name");                                   // its bytes never travel with the form
    return input;
  }
  function reset(panel, sentence) {
    const form = panel.closest("form");
    zone(form, null).value = "";
    panel.querySelector("[data-upload-id]").value = "";
    if (panel.querySelector("[data-upload-looking]").value) {
      panel.querySelector("[data-upload-looking]").value = "";
      relook();
    }
    panel.querySelector("[data-upload-card]").hidden = true;
    delete form.dataset.textUnsaved;
    submitOf(form)?.removeAttribute("aria-busy");
    const after = panel.querySelector("[data-upload-after]");
    after.textContent = sentence;
    after.hidden = !sentence;
  }
  // The job's name follows the file's, as long as nobody wrote another.
  function suggest(form, fileName) {
    const { name, suggested } = form.elements;
    const endings = form.querySelector("[data-dropzone] input[type=file]").dataset.endings.split(",").sort((a, b) => b.length - a.length);
    const ending = endings.find((one) => fileName.toLowerCase().endsWith(one)) || "";
    if (name.value && suggested.value !== name.value) return;
    name.value = suggested.value = fileName.slice(0, fileName.length - ending.length).slice(0, 200);
  }

  on("change", "[data-dropzone] input[type=file]", (event, input) => {
    const { form } = input;
    const panel = panelOf(input);
    const file = input.files[0];
    const before = uploadOf(panel);
    if (!file) { if (!before) zone(form, null); return; }
    zone(form, file);
    const tooLarge = file.size > Number(input.dataset.maxBytes) ? input.dataset.textTooLarge : "";
    input.setCustomValidity(tooLarge);
    fileError(form, tooLarge);
    suggest(form, file.name);
    const same = before?.file && before.name === file.name && markOf(before.file) === markOf(file);
    if (same && !tooLarge) {
      before.file = file;
      if (!before.underWay && before.state !== "done") before.go();
      return;
    }
    before?.pause();
    panel.querySelector("[data-upload-id]").value = "";
    if (tooLarge) { panel.querySelector("[data-upload-card]").hidden = true; uploads.delete(panel); return; }
    const known = [...panel.querySelectorAll("li[data-upload]")].find(
      ({ dataset }) => dataset.name === file.name && Number(dataset.size) === file.size && dataset.mark === markOf(file));
    const upload = new Upload(panel, { file, name: file.name, size: file.size, url: known?.dataset.upload });
    takeOut(known);
    upload.show("sending");
    upload.go();
  });
  function takeOut(item) {
    const list = item?.closest("[data-upload-list]");
    item?.remove();
    if (list && !list.querySelector("li")) list.remove();
  }
  on("click", "[data-upload-use]", (event, link) => {
    event.preventDefault();
    const form = link.closest("form");
    const panel = panelOf(link);
    const { dataset } = link.closest("li");
    uploadOf(panel)?.pause();
    const upload = new Upload(panel, { name: dataset.name, size: Number(dataset.size), url: dataset.upload });
    zone(form, upload);
    suggest(form, upload.name);
    form.dataset.dirty = "";
    takeOut(link.closest("li"));
    upload.finish();
    submitOf(form)?.focus();
  });
  on("click", "[data-upload-discard]", (event, button) => {
    event.preventDefault();
    const item = button.closest("li");
    const panel = panelOf(button);
    const gone = Upload.prototype.request.call({ form: panel.closest("form") }, "DELETE", item.dataset.upload);
    gone.then((answer) => {
      if (answer.status >= 400 && answer.status !== 404) { fileError(panel.closest("form"), panel.dataset.textRefused); return; }
      takeOut(item);
      panel.closest("form").querySelector("[data-dropzone] input[type=file]").focus();
    }, () => fileError(panel.closest("form"), panel.dataset.textRefused));
  });
  on("click", "[data-upload-pause]", (event, button) => {
    uploadOf(panelOf(button))?.pause();
    panelOf(button).querySelector("[data-upload-resume]").focus();
  });
  on("click", "[data-upload-resume]", (event, button) => {
    const upload = uploadOf(panelOf(button));
    upload.tries = 0;
    upload.show("sending");
    upload.go();
    upload.part("pause").focus();
  });
  on("click", "[data-upload-stop]", (event, button) => uploadOf(panelOf(button))?.stop());

  // "Run the job" before the file is here: the form is sent as soon as it is, once.
  document.addEventListener("submit", (event) => {
    const panel = event.target.matches("form[data-upload-form]") && event.target.querySelector("[data-uploads]");
    const upload = panel && uploads.get(panel);
    if (!upload || upload.state === "done" || panel.closest("[hidden]")) return;  // the data is from elsewhere
    event.preventDefault();
    event.stopImmediatePropagation();
    if (upload.state === "paused" || upload.state === "failed") { upload.show("sending"); upload.go(); }
    upload.then = true;
    upload.show(upload.state);
  }, true);
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt } = event.detail.requestConfig;                      // not a part of the form that asked and was replaced
    if (event.detail.successful && elt.matches("form[data-upload-form]")) elt.removeAttribute("data-dirty");
  });
  document.addEventListener("htmx:afterSwap", () => {
    const upload = active();
    if (!upload) return;
    upload.form.dataset.dirty = "";                                  // the form around it is a new one
    upload.show(upload.state);
  });

  document.addEventListener("drawer:left", () => active()?.pause());
  addEventListener("online", () => active()?.wake?.());
  addEventListener("beforeunload", (event) => { if (active()?.underWay) event.preventDefault(); });
})();
