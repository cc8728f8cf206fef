/* The experts that the page saved, behind a button in the head of "Before and after". */
"use strict";

(() => {
  const { panels, h, inTurn, opens, renames, saveBytes, twice } = window.t2ui;

  const size = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

  panels.saved = (host, api) => {
    const { add: change } = inTurn(api, "select", "savedChanged");
    const open = h("button.chip", { type: "button", id: "saved-open", title: "The experts that were saved on this page." });
    const sheet = h("div.t2.saved-sheet", { id: "saved-sheet" });
    host.closest(".contain").append(sheet); // where rules inside @media reach it
    opens(open, sheet);
    let last = null;
    let drawn = "";
    let said = { note: "", bad: false }; // of the last change
    const boxes = renames((name, to) => change({ act: "rename", name, to }));

    function row(one) {
      const act = (what, more) => change({ act: what, name: one.name, ...more });
      const chip = (text, title, onclick) => h("button.chip", { type: "button", title, onclick }, text);
      const name = h("span.name", { title: one.name }, h("i.dot", { style: { "--colour": one.colour } }), h("span", null, one.name));
      const rename = chip("Rename", `Give ${one.name} another name.`);
      const remove = twice(chip("Delete", `Delete ${one.name} for good.`), "Really?", `saved: delete ${one.name}`, () => act("delete"));
      return h("div.saved-row", { data: { name: one.name } }, name, boxes.box(one.name, rename, name), h("span.size", null, size(one.bytes)),
        chip("Download", `${one.name} as a safetensors file.`, () => act("read")), rename, remove);
    }

    return (value) => {
      const side = document.getElementById("saved-side");
      if (side && !open.isConnected) side.append(open);
      open.hidden = !value.rows.length;
      open.textContent = `Saved: ${value.rows.length}`;
      if (value.note !== null) said = { note: value.note, bad: value.bad };
      const now = JSON.stringify([value.rows, said]);
      if (now !== drawn) { // else the experts were only listed again: a hand may be on a button
        drawn = now;
        boxes.redraw(sheet, value.rows.map((one) => one.name), () => sheet.replaceChildren(
          h("p.what", null, value.words), ...value.rows.map(row),
          h(said.bad ? "p.note.bad" : "p.note", { role: "status" }, said.note)));
      }
      if (!value.rows.length && sheet.matches(":popover-open")) sheet.hidePopover();
      if (value.file && value.stamp !== last) saveBytes(value.file);
      last = value.stamp;
    };
  };
})();
