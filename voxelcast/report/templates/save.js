// Save figures: an SVG is the picture in the page, a PNG is drawn from it on white, at three times its size.
(() => {
  const white = async (image) => {
    await image.decode();
    const canvas = document.createElement("canvas"), scale = image.classList.contains("drawn") ? 3 : 1;
    [canvas.width, canvas.height] = [image.width, image.height].map((_, k) => scale * Number(image.getAttribute(k ? "height" : "width")));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  };
  for (const link of document.querySelectorAll("a[data-save]")) {
    const image = link.closest("figure").querySelector("img"), name = link.dataset.save;
    const finished = name.endsWith(".svg") || !image.classList.contains("drawn");
    link.hidden = false;
    link.download = name;
    link.setAttribute("aria-label", `${link.textContent}: ${name}`);
    link.href = finished ? image.src : "#";
    if (!finished) link.addEventListener("click", async (event) => {
      if (link.href.startsWith("data:")) return;
      event.preventDefault();
      link.href = await white(image);
      link.click();
    });
  }
})();
