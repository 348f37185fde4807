// A table whose cells change in place, so that nobody loses what is marked, focused or being read.
import {label, make, say} from "./text.js";

export class Table {
	/** columns: {title, number, wide, cut}; the first cell of each row is its header. none: what stands there while it is empty.
	 * The caption is seen where the heading above does not say enough. */
	constructor(element, caption, columns, {none = "Nothing yet.", seen = false} = {}) {
		this.columns = columns;
		this.body = make("tbody");
		this.none = none;
		this.rows = new Map();
		element.append(make("caption", {class: seen ? null : "hidden"}, caption), make("thead", {}, make("tr", {},
			...columns.map((column) => make(column.title === "" ? "td" : "th", column.title === "" ? {} : {scope: "col", class: column.number ? "n" : null}, column.title)))), this.body);
		this.show([]);
	}

	/** rows: {key, cells}; a cell is text, or {text, class, title}, or {node, mark}: an element, made anew when its mark changes.
	 * Rows with the same key stay the same elements. */
	show(rows) {
		const before = this.rows;
		this.rows = new Map(rows.map((row) => [row.key, before.get(row.key) ?? this.make(row)]));
		rows.forEach((row) => row.cells.forEach((cell, i) => this.fill(this.rows.get(row.key).children[i], cell, this.columns[i], i === 0 && row.sub)));
		const wanted = rows.length > 0 ? [...this.rows.values()] : [this.empty()];
		for (const old of [...this.body.children])
			if (!wanted.includes(old))
				old.remove();
		wanted.forEach((element, i) => {
			if (this.body.children[i] !== element)
				this.body.insertBefore(element, this.body.children[i] ?? null);
		});
	}

	empty() {
		this.emptyRow ??= make("tr", {}, make("td", {class: "dim", colspan: this.columns.length}));
		say(this.emptyRow.firstChild, this.none);
		return this.emptyRow;
	}

	make(row) {
		return make("tr", {}, ...row.cells.map((_, i) => (i === 0 ? make("th", {scope: "row"}) : make("td"))));
	}

	fill(element, cell, column, sub) {
		const {text, node, mark, title, ...more} = typeof cell === "object" && cell !== null ? cell : {text: cell};
		label(element, "class", [column.number && "n", column.wide && "wide", column.cut && "cut", sub && "sub", more.class].filter(Boolean).join(" ") || null);
		label(element, "title", title ?? (column.cut && node === undefined ? String(text) : null));
		if (node === undefined)
			say(element, String(text ?? ""));
		else if (element.mark !== mark || element.firstChild === null)
			element.replaceChildren(node());
		element.mark = node === undefined ? undefined : mark;
	}
}

/** A cell with a time, or a dash. */
export const timeCell = (ms, time) => (ms > 0 ? {node: () => time(ms), mark: String(ms)} : "–");

/** A cell that is red when it is more than nothing. */
export const badCell = (n, text) => ({text, class: n > 0 ? "bad" : "dim"});
