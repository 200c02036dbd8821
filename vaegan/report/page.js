"use strict";
(() => {
  const style = () => getComputedStyle(document.documentElement);
  const colour = (name) => style().getPropertyValue(name).trim();
  const touch = matchMedia("(pointer: coarse)").matches;
  const drawn = new Map(); // element -> its figure

  function read(element) {
    return JSON.parse(element.querySelector('script[type="application/json"]').textContent);
  }

  function axis() {
    const chosen = document.querySelector('input[name="axis"]:checked');
    return chosen ? [chosen.value, chosen.dataset.title] : ["step", "step"];
  }

  function layoutOf(figure) {
    const [, title] = axis();
    const line = colour("--line");
    const both = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    return {
      ...figure.layout,
      xaxis: { ...both, title: { text: title, standoff: 6 } },
      yaxis: { ...both, ...figure.layout.yaxis, exponentformat: "power" },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink"), size: 12, family: "system-ui, sans-serif" },
      colorway: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"],
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: line, font: { color: colour("--ink") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--pale"), activecolor: colour("--ink") },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      // The buttons are above the legend.
      margin: { l: 50, r: 12, t: figure.layout.showlegend ? 50 : 30, b: 40 },
      // Under a finger a drag scrolls the page; the buttons zoom there.
      dragmode: touch ? false : "zoom",
    };
  }

  function tracesOf(figure) {
    const [key] = axis();
    return figure.data.map((trace, i) => ({ ...trace, x: figure.axes[i][key] || [] }));
  }

  const settings = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? true : "hover",
    // Named one by one: the library's own choice has a button that sends the data to its makers.
    modeBarButtons: [touch ? ["pan2d"] : ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    showSendToCloud: false,
  };

  function draw(element) {
    if (!drawn.has(element)) drawn.set(element, read(element));
    const figure = drawn.get(element);
    Plotly.react(element, tracesOf(figure), layoutOf(figure), settings);
  }

  const redraw = () => drawn.forEach((_, element) => draw(element));
  const isShown = (element) => !element.closest("details:not([open])");

  if (typeof Plotly !== "undefined") {
    document.querySelectorAll(".chart").forEach((element) => isShown(element) && draw(element));
    document.querySelectorAll("details").forEach((details) =>
      details.addEventListener("toggle", () =>
        details.querySelectorAll(".chart").forEach((element) => isShown(element) && draw(element))));
    document.querySelectorAll('input[name="axis"]').forEach((input) =>
      input.addEventListener("change", redraw));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  document.querySelectorAll(".slides").forEach((element) => {
    const { moments, pictures } = read(element);
    const slider = element.querySelector("input");
    const button = element.querySelector("button");
    const images = element.querySelectorAll("img");
    let timer = null;
    function show() {
      const place = Number(slider.value);
      element.querySelector("output").textContent = moments[place];
      images.forEach((image, i) => {
        if (pictures[i][place]) image.src = pictures[i][place];
      });
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "\u25B6";
      button.setAttribute("aria-label", "play");
    }
    slider.addEventListener("input", () => { stop(); show(); });
    button.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(slider.value) === moments.length - 1) { slider.value = 0; show(); }
      button.textContent = "\u275A\u275A";
      button.setAttribute("aria-label", "pause");
      timer = setInterval(() => {
        if (Number(slider.value) >= moments.length - 1) return stop();
        slider.value = Number(slider.value) + 1;
        show();
      }, 350);
      return undefined;
    });
    show();
  });
})();
