// Charts at 1 Hz, drawn by uPlot when that is there; each has a table that says the same.
import {make, say, short, byId} from "./text.js";

const POINTS = 300, MOST = 8, HEIGHT = 150, CHOOSE_EVERY = 15;
const clock = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit"});
const all = new Set();
let library = null; // uPlot, once it has come

/** Called after the first paint: 22 kB that nothing waits for. */
export function loadCharts() {
	document.head.append(make("link", {rel: "stylesheet", href: "page/uPlot.css"}), make("script", {
		src: "page/uPlot.js",
		onload: () => {
			library = globalThis.uPlot;
			for (const chart of all)
				chart.draw();
		},
		onerror: () => {
			document.documentElement.classList.add("no-charts");
			const note = byId("charts-note");
			note.hidden = false;
			say(note, "There are no charts: uPlot is not installed (make data fetches it). The tables say the same.");
		},
	}));
	const again = () => { for (const chart of all) chart.remake(); };
	new MutationObserver(again).observe(document.documentElement, {attributeFilter: ["data-theme"]});
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

const probe = make("span", {hidden: true});
/** A variable of style.css as the colour that it is now: of light and dark the one that is shown. */
const colour = (name) => {
	document.body.append(probe);
	probe.style.color = `var(${name})`;
	return getComputedStyle(probe).color;
};
const dash = (i) => (i < 4 ? [] : i < 6 ? [6, 3] : [2, 3]);

/** A <figure> with a title, a chart and a table of what it shows. */
export class Chart {
	/** unit(n): a value for reading; least: the scale reaches at least so far; every: seconds from value to value, so that
	 * there is a gap when none came (Infinity: values say what was since the last one);
	 * colours: numbers of those that are not given in turn. table: false when the caller has a better one. */
	constructor(title, {unit = short, least = 1, table = true, points = POINTS, every = 1, colours = {}, note = ""} = {}) {
		Object.assign(this, {title, unit, least, points, every, colours, xs: [], ys: new Map(), shown: [], turn: 0, seen: false});
		this.plotBox = make("div", {class: "plot", role: "img", "aria-label": title + (table ? ": a chart; the table below has its figures" : ": a chart")});
		this.when = make("span", {class: "dim"}, note);
		this.note = note;
		this.rows = make("tbody");
		this.element = make("figure", {class: "fig"}, make("figcaption", {}, make("h3", {}, title), this.when), this.plotBox);
		if (table)
			this.element.append(make("div", {class: "scroll", role: "group", tabindex: 0, "aria-label": title}, make("table", {},
				make("thead", {}, make("tr", {}, ...["", "now", "highest"].map((text, i) => make(i === 0 ? "td" : "th", i === 0 ? {} : {scope: "col", class: "n"}, text)))),
				this.rows)));
		all.add(this);
		new IntersectionObserver((entries) => {
			this.seen = entries.at(-1).isIntersecting;
			this.draw();
		}, {rootMargin: "100px"}).observe(this.element);
		new ResizeObserver(() => this.plot?.setSize({width: this.plotBox.clientWidth, height: HEIGHT})).observe(this.plotBox);
	}

	/** values: an object or a map of numbers (null: nothing to say) at this time. */
	push(now_ms, values) {
		if (this.xs.length > 0 && now_ms / 1000 <= this.xs.at(-1))
			return;
		if (now_ms / 1000 > this.xs.at(-1) + 4 * this.every)
			this.add(this.xs.at(-1) + this.every, {}); // a gap in the lines
		this.add(now_ms / 1000, values);
		this.draw();
	}

	add(at, values) {
		const before = this.xs.length;
		this.xs.push(at);
		for (const [name, value] of values instanceof Map ? values : Object.entries(values)) {
			if (!this.ys.has(name))
				this.ys.set(name, new Array(before).fill(null));
			this.ys.get(name).push(value);
		}
		for (const [name, list] of this.ys) {
			if (list.length === before)
				list.push(null);
			if (this.xs.length > this.points)
				list.shift();
			if (list.every((value) => value === null))
				this.ys.delete(name);
		}
		if (this.xs.length > this.points)
			this.xs.shift();
	}

	clear() {
		this.xs = [];
		this.ys.clear();
		this.draw();
	}

	draw() {
		if (!this.seen || document.hidden)
			return;
		const names = this.choose();
		if (library !== null && this.xs.length > 1) {
			if (this.plot === undefined || names.join("\n") !== this.shown.join("\n"))
				this.make(names);
			else
				this.plot.setData(this.data(names));
		}
		this.shown = names;
		if (this.at === undefined)
			this.list(this.xs.length - 1);
	}

	/** The names that are shown: all, or the largest, looked at again now and then. */
	choose() {
		const names = [...this.ys.keys()];
		if (names.length <= MOST)
			return names;
		if (this.shown.length === MOST && this.turn++ % CHOOSE_EVERY !== 0 && this.shown.every((name) => this.ys.has(name)))
			return this.shown;
		const top = new Map(names.map((name) => [name, highest(this.ys.get(name))]));
		const chosen = new Set(names.toSorted((a, b) => top.get(b) - top.get(a)).slice(0, MOST));
		return names.filter((name) => chosen.has(name));
	}

	data(names) {
		return [this.xs, ...names.map((name) => this.ys.get(name))];
	}

	remake() {
		if (this.plot !== undefined)
			this.make(this.shown);
		this.rows.replaceChildren();
		this.draw();
	}

	make(names) {
		this.plot?.destroy();
		const axis = {stroke: colour("--dim"), font: "11px system-ui, sans-serif", grid: {stroke: colour("--faint"), width: 1}, ticks: {show: false}};
		this.plot = new library({
			width: this.plotBox.clientWidth, height: HEIGHT, legend: {show: false}, padding: [8, 8, 0, 0],
			cursor: {y: false, points: {size: 5}, drag: {x: false, y: false}},
			scales: {y: {range: (_plot, _low, high) => [0, Math.max(this.least, (high ?? 0) * 1.08)]}},
			axes: [
				{...axis, size: 26, space: 70, values: (_plot, splits) => splits.map((s) => clock.format(s * 1000))},
				{...axis, size: 58, space: 26, values: (_plot, splits) => splits.map((n) => this.unit(n))},
			],
			series: [{}, ...names.map((name, i) => ({label: name, stroke: colour(`--c${(this.colours[name] ?? i) % 8}`), width: 1.5, dash: dash(i), points: {show: false}}))],
			hooks: {setCursor: [(plot) => this.point(plot.cursor.idx)]},
		}, this.data(names), this.plotBox);
		this.plot.root.setAttribute("aria-hidden", "true");
	}

	/** The table has the figures of the place that the pointer is at, or the last ones. */
	point(index) {
		const at = index === null || index === undefined ? undefined : index;
		if (at === undefined && this.at === undefined)
			return;
		this.at = at;
		say(this.when, at === undefined ? this.note : clock.format(this.xs[at] * 1000));
		this.list(at ?? this.xs.length - 1);
	}

	list(at) {
		const rows = [...this.rows.children];
		if (rows.map((row) => row.dataset.name).join("\n") !== this.shown.join("\n"))
			this.rows.replaceChildren(...this.shown.map((name, i) => make("tr", {"data-name": name},
				make("th", {scope: "row", class: "cut", title: name}, swatch(i, this.colours[name]), name), make("td", {class: "n"}), make("td", {class: "n"}))));
		this.shown.forEach((name, i) => {
			const list = this.ys.get(name), cells = this.rows.children[i].children;
			say(cells[1], this.unit(list[at] ?? NaN));
			say(cells[2], this.unit(highest(list)));
		});
	}

	/** The swatch of a name, or of one that has no line. */
	swatch(name) {
		return swatch(this.shown.indexOf(name));
	}
}

function highest(list) {
	return list.reduce((most, value) => (value !== null && value > most ? value : most), 0);
}

function swatch(i, chosen = i) {
	const one = make("span", {class: "swatch", "aria-hidden": "true"});
	one.style.borderTopColor = i < 0 ? "transparent" : `var(--c${chosen % 8})`;
	one.style.borderTopStyle = i < 4 ? "solid" : i < 6 ? "dashed" : "dotted";
	return one;
}
