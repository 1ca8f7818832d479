// A text field with suggestions, after the ARIA pattern: arrows choose, Enter takes, Escape closes.

import { debounced, h, put } from "./dom.js";

let made = 0;

/**
 * search(text) gives [{value, label, detail?}]; pick(option) is told what was chosen; typed(text) what was entered
 * with Enter and is none of the suggestions. keep: the text stays after a choice.
 */
export function combobox({ label, placeholder = "", value = "", search, pick, typed = null, keep = true, hideLabel = false }) {
  const name = `combobox-${++made}`;
  let options = [];
  let active = -1;
  let asked = 0;

  const list = h("ul", { id: `${name}-list`, role: "listbox", class: "options", "aria-label": label, hidden: true });
  const input = h("input", {
    id: name, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder, value,
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  });
  const said = h("span", { class: "visually-hidden", "aria-live": "polite" });

  function close() {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(place) {
    active = place;
    [...list.children].forEach((element, one) => element.setAttribute("aria-selected", String(one === active)));
    if (active >= 0) {
      input.setAttribute("aria-activedescendant", `${name}-${active}`);
      list.children[active].scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  }

  function take(option) {
    close();
    input.value = keep ? option.label : "";
    pick(option);
  }

  async function suggest() {
    const turn = ++asked;
    let found = [];
    try {
      found = await search(input.value.trim());
    } catch {
      // suggestions are a help; what is typed works without them
    }
    if (turn !== asked || document.activeElement !== input) return;
    options = found;
    put(list, options.map((option, place) => h("li", {
      id: `${name}-${place}`, role: "option", "aria-selected": "false",
      on: { pointerdown: (event) => { event.preventDefault(); take(option); } },
    }, h("bdi", { class: "option-label" }, option.label), option.detail ? h("span", { class: "option-detail" }, option.detail) : null)));
    list.hidden = options.length === 0;
    active = -1;
    input.setAttribute("aria-expanded", String(options.length > 0));
    input.removeAttribute("aria-activedescendant");
    said.textContent = options.length ? `${options.length} suggestions` : "";
  }

  const later = debounced(suggest);
  input.addEventListener("input", later);
  input.addEventListener("focus", suggest);
  input.addEventListener("blur", () => { asked++; close(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) suggest();
      else if (options.length) mark((active + (event.key === "ArrowDown" ? 1 : options.length + (active < 0 ? 0 : -1))) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      asked++;
      const text = input.value.trim();
      const exact = options.find((option) => option.value === text || option.label === text);
      if (active >= 0) take(options[active]);
      else if (exact) take(exact);
      else if (text && typed) { close(); typed(text); }
      else if (text && options.length) take(options[0]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
  const element = h("div", { class: "combobox" }, h("label", { for: name, class: hideLabel ? "visually-hidden" : "" }, label), input, list, said);
  element.set = (text) => { input.value = text; };
  element.input = input;
  return element;
}
