"use strict";
// Pick a ROI, subject, network or output: whatever speaks only of others is hidden. Without script all is shown.
(() => {
  const form = document.getElementById("pick");
  if (!form) return;
  const selects = [...form.querySelectorAll("select")];
  const status = form.querySelector("[role=status]");
  const chosen = () => Object.fromEntries(selects.map((s) => [s.name, s.value]));
  const apply = () => {
    const state = chosen();
    for (const name of Object.keys(state)) {
      for (const element of document.querySelectorAll(`[data-${name}]`)) {
        element.hidden = Object.entries(state).some(([key, value]) => {
          const own = element.dataset[key];
          return own !== undefined && value !== "" && own !== value;
        });
      }
    }
    status.textContent = "Shown: " + selects.map((s) => s.selectedOptions[0].textContent.trim()).join(", ") + ".";
    document.dispatchEvent(new CustomEvent("picked", { detail: state }));
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  form.hidden = false;
  apply();
})();
