(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  // --- numbers as the page writes them --------------------------------------------------------------------------
  const scaled = (value, units, step) => {
    let at = 0;
    while (Math.abs(value) >= step && at < units.length - 1) { value /= step; at += 1; }
    return `${+value.toPrecision(3)} ${units[at]}`;
  };
  const duration = (seconds) => {
    const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const size = Math.abs(seconds);
    if (size < 1) return size === 0 ? "0 s" : `${+(seconds * 1000).toPrecision(3)} ms`;
    const [step, unit] = steps.find(([least]) => size >= least);
    return `${+(seconds / step).toPrecision(3)} ${unit}`;
  };
  const each = { per_second: "/s", per_minute: "/min", per_hour: "/h", days: "d", percent: "%" };
  const amount = (value, unit) => {
    if (value === null || value === undefined) return "–";
    if (unit === "bytes") return scaled(value, ["B", "kB", "MB", "GB", "TB"], 1024);
    if (unit === "seconds" || unit === "s") return duration(value);
    const plain = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
    return unit === "count" || unit === "ratio" || unit === "" ? plain : `${plain} ${each[unit] || unit}`;
  };

  // --- how long ago ---------------------------------------------------------------------------------------------
  const ago = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 60) return "now";
    const text = size < 3600 ? `${Math.floor(size / 60)} min` : size < 172800 ? `${Math.floor(size / 3600)} h` : `${Math.floor(size / 86400)} d`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  };
  const tell = () => {
    for (const time of all("time[data-ago]")) {
      if (!time.title) time.title = time.textContent;
      time.textContent = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    }
    const made = document.getElementById("generated");
    const old = (Date.now() - Date.parse(made.dateTime)) / 1000;
    const note = document.getElementById("age");
    note.textContent = ` (${ago(old)})`;
    const hours = Number(document.body.dataset.staleHours);
    document.getElementById("stale").hidden = !(old > hours * 3600);
  };
  tell();
  setInterval(tell, 60000);

  // --- copy and theme -------------------------------------------------------------------------------------------
  for (const button of all("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = button.previousElementSibling.textContent;
      try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch (_denied) {
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
  const charts = new Map();
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("oncall-theme", root.dataset.theme); } catch (_denied) { /* for this visit only */ }
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

  // --- charts: over the drawing that is there without any script ------------------------------------------------
  const data = JSON.parse(document.getElementById("plots").textContent);
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3], [4, 2]];
  const binary = [0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** power));
  const day = (at) => new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";

  const chart = (figure) => {
    const plot = data[figure.dataset.plot];
    const box = figure.querySelector(".canvas");
    const readout = figure.querySelector(".readout");
    const axis = { stroke: color("--quiet"), grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const series = [{}];
    const columns = [plot.t];
    const bands = [];
    const add = (values, options) => { columns.push(values); series.push({ spanGaps: false, points: { show: false }, ...options }); };
    plot.lines.forEach((line, index) => add(line.v, { label: line.l, width: 2, stroke: color(`--c${index % 5 + 1}`), dash: dashes[index % 5] }));
    if (plot.band) {
      add(plot.band[1].v, { label: plot.band[1].l, width: 0, stroke: "transparent" });
      add(plot.band[0].v, { label: plot.band[0].l, width: 0, stroke: "transparent" });
      bands.push({ series: [columns.length - 2, columns.length - 1], fill: color("--band") });
    }
    const levels = (u) => {
      for (const [name, value] of plot.levels) {
        const y = Math.round(u.valToPos(value, "y", true));
        if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) continue;
        const pen = u.ctx;
        pen.save();
        pen.strokeStyle = pen.fillStyle = color("--critical");
        pen.lineWidth = 1.5 * devicePixelRatio;
        pen.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
        pen.beginPath(); pen.moveTo(u.bbox.left, y); pen.lineTo(u.bbox.left + u.bbox.width, y); pen.stroke();
        pen.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
        pen.textAlign = "left"; pen.textBaseline = "bottom";
        pen.fillText(name, u.bbox.left + 6 * devicePixelRatio, y - 3 * devicePixelRatio);
        pen.restore();
      }
    };
    const told = (u) => {
      const at = u.cursor.idx;
      readout.textContent = at === null || at === undefined ? "" :
        [day(plot.t[at]), ...series.slice(1).map((one, index) => [one.label, columns[index + 1][at]])
          .filter(([, value]) => value !== null && value !== undefined)
          .map(([name, value]) => `${name} ${amount(value, plot.u)}`)].join(" · ");
    };
    const options = {
      width: box.clientWidth, height: 210, legend: { show: false }, padding: [10, 8, 0, 0], series, bands,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), "Etc/UTC"),
      cursor: { y: false, points: { size: 7 } },
      scales: { y: { range: (_u, low, high) => {
        const near = plot.levels.map(([, value]) => value).filter((value) => Math.abs(value) <= 3 * Math.max(Math.abs(low), Math.abs(high)));
        const top = Math.max(high, ...near), bottom = Math.min(low, ...near);
        const range = uPlot.rangeNum(bottom, top, 0.08, true);
        return [bottom >= 0 && bottom < 0.6 * top ? 0 : range[0], range[1]];
      } } },
      axes: [{ ...axis, size: 40 }, { ...axis, size: 68, incrs: plot.u === "bytes" ? binary : undefined, values: (_u, ticks) => ticks.map((tick) => amount(tick, plot.u)) }],
      hooks: { draw: [levels], setCursor: [told] },
    };
    box.replaceChildren();
    const made = new uPlot(options, columns, box);
    made.root.setAttribute("aria-hidden", "true");
    return made;
  };
  const show = (figure) => {
    if (!figure.querySelector(".canvas").clientWidth) return;
    const old = charts.get(figure);
    if (old) old.destroy();
    charts.set(figure, chart(figure));
  };
  const redraw = () => { for (const figure of Array.from(charts.keys())) show(figure); };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && !charts.has(entry.target)) show(entry.target);
  }, { rootMargin: "300px" });
  const sized = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const made = charts.get(entry.target.closest("figure"));
      const width = Math.floor(entry.contentRect.width);
      if (made && width && Math.abs(made.width - width) > 1) made.setSize({ width, height: 210 });
    }
  });
  for (const figure of all("figure[data-plot]")) { seen.observe(figure); sized.observe(figure.querySelector(".canvas")); }
})();
