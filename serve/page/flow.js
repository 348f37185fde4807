// The flow as a picture: a column for each step from left to right, or, where there is no room for that, a list with arcs.
import {short, rate, percent, exact, svg, say, label} from "./text.js";

const HEIGHT = 42, GAP = 12, THIN = 12, NARROW = 700, LETTER = 6.7;

export class Flow {
	constructor(box) {
		this.box = box;
		this.width = 0;
		new ResizeObserver(() => { if (Math.abs(box.clientWidth - this.width) > 1) this.draw(); }).observe(box);
	}

	take(flow) {
		this.graph = graphOf(flow);
		this.draw();
	}

	draw() {
		this.width = this.box.clientWidth;
		if (this.graph === undefined || this.width === 0)
			return;
		const {nodes, edges} = this.graph;
		const size = this.width < NARROW ? asList(nodes, edges, this.width) : asColumns(this.graph, this.width);
		this.edges = edges.map((edge) => ({...edge, path: svg("path", {class: "edge", d: edge.d})}));
		this.nodes = nodes.map(drawNode);
		this.picture = svg("svg", {width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}`, role: "img"},
			...this.edges.map((edge) => edge.path), ...this.nodes.map((one) => one.element));
		this.box.replaceChildren(this.picture);
		if (this.model !== undefined)
			this.tick(this.model);
	}

	tick(model) {
		this.model = model;
		if (this.picture === undefined)
			return;
		for (const one of this.nodes)
			showNode(one, model);
		for (const edge of this.edges)
			showEdge(edge, model);
		const down = [...model.stages.values()].filter((stage) => stage.state !== "running").length;
		label(this.picture, "aria-label", `Flow of events through ${model.stages.size} stages and ${model.topics.size} topics; `
			+ (down === 0 ? "all run" : `${down} do not run`) + (model.lost > 0 ? "; events were lost or refused" : "; nothing lost"));
	}
}

// ---- the graph ----

/** Processes of one program that read and write the same are one node. */
function graphOf(flow) {
	const next = new Map(flow.nodes.map((node) => [node.id, []])), back = new Map(flow.nodes.map((node) => [node.id, []]));
	for (const {from, to} of flow.edges)
		if (next.has(from) && back.has(to)) {
			next.get(from).push(to);
			back.get(to).push(from);
		}
	const alike = new Map();
	for (const node of flow.nodes) {
		const key = node.kind === "stage" && /\.\d+$/.test(node.id)
			? JSON.stringify([node.program, next.get(node.id).toSorted(), back.get(node.id).toSorted()]) : node.id;
		if (!alike.has(key))
			alike.set(key, {id: node.id, kind: node.kind, program: node.program, members: [], next: [], back: []});
		alike.get(key).members.push(node.id);
	}
	const nodes = [...alike.values()];
	const owner = new Map(nodes.flatMap((node) => node.members.map((id) => [id, node])));
	const edges = new Map();
	for (const {from, to} of flow.edges)
		if (owner.has(from) && owner.has(to) && owner.get(from) !== owner.get(to))
			edges.set(owner.get(from).id + "\n" + owner.get(to).id, {from: owner.get(from), to: owner.get(to)});
	for (const edge of edges.values()) {
		edge.from.next.push(edge.to);
		edge.to.back.push(edge.from);
	}
	setDepths(nodes);
	return {nodes, edges: [...edges.values()]};
}

/** As far right as the longest way to it; who passes nothing on stands in the last column. */
function setDepths(nodes) {
	for (const node of nodes)
		node.depth = 0;
	for (let turn = 0, changed = true; changed && turn < nodes.length; turn++) {
		changed = false;
		for (const node of nodes)
			for (const to of node.next)
				if (to.depth <= node.depth && node.depth < nodes.length) {
					to.depth = node.depth + 1;
					changed = true;
				}
	}
	const last = Math.max(0, ...nodes.map((node) => node.depth));
	for (const node of nodes)
		if (node.next.length === 0 && node.kind === "stage")
			node.depth = last;
}

// ---- in columns ----

function asColumns({nodes, edges}, width) {
	const columns = [];
	for (const node of nodes)
		(columns[node.depth] ??= []).push(node);
	for (let i = 0; i < columns.length; i++)
		columns[i] ??= [];
	const ways = edges.map((edge) => wayOf(edge, columns));
	order(columns);
	const room = width - 24, gap = Math.max(40, Math.min(120, room * 0.075));
	const wide = Math.min(210, (room - gap * (columns.length - 1)) / columns.length);
	const step = columns.length > 1 ? (room - wide) / (columns.length - 1) : 0;
	const heightOf = (column) => column.reduce((all, one) => all + (one.way ? THIN : HEIGHT) + GAP, -GAP);
	const height = Math.max(...columns.map(heightOf));
	columns.forEach((column, i) => {
		let y = 12 + (height - heightOf(column)) / 2;
		for (const one of column) {
			const tall = one.way ? THIN : HEIGHT;
			Object.assign(one, {x: 12 + i * step, y, width: wide, middle: y + tall / 2});
			y += tall + GAP;
		}
	});
	ways.forEach((way, i) => { edges[i].d = curve(way, wide); });
	return {width, height: height + 24};
}

/** The points that an edge goes through: where it passes a column it has a place of its own in it. */
function wayOf(edge, columns) {
	const way = [edge.from];
	for (let depth = edge.from.depth + 1; depth < edge.to.depth; depth++) {
		const place = {way: true, back: [way.at(-1)], next: []};
		if (way.at(-1).way)
			way.at(-1).next.push(place);
		columns[depth].push(place);
		way.push(place);
	}
	if (way.at(-1).way)
		way.at(-1).next.push(edge.to);
	way.push(edge.to);
	edge.way = way;
	return way;
}

/** Each node beside the middle of its neighbours, from left to right and back, so that few edges cross. */
function order(columns) {
	const place = new Map();
	const settle = (column) => column.forEach((one, i) => place.set(one, (i + 0.5) / column.length));
	columns.forEach(settle);
	const pull = (column, side) => {
		const wish = new Map(column.map((one) => {
			const near = one[side].filter((other) => place.has(other));
			return [one, near.length === 0 ? place.get(one) : near.reduce((all, other) => all + place.get(other), 0) / near.length];
		}));
		column.sort((a, b) => wish.get(a) - wish.get(b));
		settle(column);
	};
	for (let turn = 0; turn < 4; turn++) {
		for (const column of columns.slice(1))
			pull(column, "back");
		for (const column of columns.slice(0, -1).reverse())
			pull(column, "next");
	}
	for (const column of columns.slice(1))
		pull(column, "back");
}

function curve(way, wide) {
	let d = "";
	for (let i = 0; i + 1 < way.length; i++) {
		const [a, b] = [way[i], way[i + 1]];
		const x0 = a.x + wide, x1 = b.x, half = (x1 - x0) / 2, y0 = a.middle, y1 = b.middle;
		d += i === 0 ? `M${x0} ${y0}` : "";
		d += `C${x0 + half} ${y0} ${x1 - half} ${y1} ${x1} ${y1}`;
		if (b.way)
			d += `L${b.x + wide} ${b.middle}`;
	}
	return d;
}

// ---- as a list ----

function asList(nodes, edges, width) {
	const left = 46, step = HEIGHT + 8;
	const rows = nodes.toSorted((a, b) => a.depth - b.depth);
	rows.forEach((node, i) => Object.assign(node, {x: left, y: 8 + i * step, width: width - left - 8, row: i}));
	for (const edge of edges) {
		const y0 = edge.from.y + HEIGHT / 2 + 6, y1 = edge.to.y + HEIGHT / 2 - 6;
		const out = Math.max(2, left - 8 - 5 * Math.abs(edge.to.row - edge.from.row));
		edge.d = `M${left} ${y0}C${out - 8} ${y0} ${out - 8} ${y1} ${left} ${y1}`;
	}
	return {width, height: 16 + rows.length * step - 8};
}

// ---- one node ----

function drawNode(node) {
	const {x, y, width} = node;
	const text = (kind, tx, ty) => svg("text", {class: kind, x: tx, y: ty});
	const parts = {
		node, room: width,
		title: svg("title"),
		name: text("name", x + 8, y + 17), rate: text("end", x + width - 8, y + 17),
		left: text("dim", x + 8, y + 34), right: text("end", x + width - 8, y + 34),
	};
	parts.element = svg("g", {class: "node " + node.kind}, parts.title,
		svg("rect", {class: "box", x, y, width, height: HEIGHT, rx: node.kind === "stage" ? 3 : 14}), parts.name, parts.rate, parts.left, parts.right);
	if (node.kind !== "stage") {
		const bar = {x: x + 10, y: y + 27, height: 5};
		parts.bar = Math.min(60, width * 0.27);
		parts.level = svg("rect", {...bar, width: 0, class: "level"});
		parts.element.append(svg("rect", {...bar, width: parts.bar, class: "track"}), parts.level);
		parts.left.setAttribute("x", x + 16 + parts.bar);
	}
	return parts;
}

function fit(text, room) {
	const most = Math.max(3, Math.floor(room / LETTER));
	return text.length <= most ? text : text.slice(0, most - 1) + "…";
}

function showNode(one, model) {
	const shown = one.node.kind === "stage" ? stageTexts(one.node, model) : topicTexts(one.node, model);
	say(one.rate, shown.rate);
	say(one.name, fit(shown.name, one.room - 20 - LETTER * shown.rate.length));
	say(one.right, shown.right ?? "");
	label(one.right, "class", "end " + (shown.rightClass ?? "dim"));
	const room = one.room - 26 - (one.bar ?? 0) - LETTER * (shown.right ?? "").length;
	say(one.left, one.bar === undefined || LETTER * shown.left.length <= room ? fit(shown.left, room) : "");
	label(one.left, "class", shown.leftClass ?? "dim");
	say(one.title, shown.title);
	label(one.element, "class", `node ${one.node.kind} ${shown.state}`);
	if (one.level !== undefined) {
		label(one.level, "width", (shown.full > 0 ? Math.max(1.5, one.bar * Math.min(1, shown.full)) : 0).toFixed(1));
		label(one.level, "class", shown.full >= 0.8 ? "level high" : "level");
	}
}

function stageTexts(node, model) {
	const members = node.members.map((id) => model.stages.get(id)).filter((stage) => stage !== undefined);
	const add = (key) => members.reduce((all, stage) => all + stage[key], 0);
	const worst = members.find((stage) => stage.state !== "running") ?? members[0];
	const restarts = add("restarts"), kernel = add("kernel_dropped"), missed = add("missed"), rejected = add("rejected");
	const failing = members.find((stage) => stage.metric("failing") !== 0);
	const shown = {
		name: node.members.length > 1 ? `${node.program} ×${node.members.length}` : node.id,
		rate: members.length === 0 ? "" : rate(stageRate(node, members)),
		state: worst === undefined || ["none", "failed", "ended"].includes(worst.state) ? "down" : worst.state !== "running" ? "starting" : "",
		left: worst === undefined ? "not there" : worst.state,
		right: restarts > 0 ? `${short(restarts)} ${restarts === 1 ? "restart" : "restarts"}` : "", rightClass: "warn",
	};
	if (shown.state === "down")
		shown.leftClass = "bad";
	else if (kernel > 0)
		Object.assign(shown, {left: short(kernel) + " dropped by the kernel", leftClass: "bad"});
	else if (missed > 0)
		Object.assign(shown, {left: short(missed) + " missed", leftClass: "bad"});
	else if (failing !== undefined)
		Object.assign(shown, {left: "its store fails", leftClass: "bad"});
	else if (rejected > 0 && shown.state === "")
		Object.assign(shown, {left: short(rejected) + " rejected", leftClass: "warn"});
	if (add("losing") > 0)
		shown.state = "losing";
	shown.title = [node.members.join(", "), ...members.map((stage) => stage.note).filter((note) => note !== ""),
		`restarts: ${exact(restarts)}`, rejected > 0 && `rejected: ${exact(rejected)}`, kernel > 0 && `dropped by the kernel: ${exact(kernel)}`,
		missed > 0 && `missed: ${exact(missed)}`].filter(Boolean).join("\n");
	return shown;
}

function stageRate(node, members) {
	const add = (value) => members.reduce((all, stage) => all + value(stage), 0);
	if (node.program === "deliver")
		return add((stage) => stage.per("attempts"));
	if (node.program === "serve")
		return add((stage) => stage.per("requests"));
	return add((stage) => stage.rate) + add((stage) => (stage.ingests ? stage.per("postbacks") : 0));
}

function topicTexts(node, model) {
	const one = node.kind === "queue" ? model.queues.get(node.id) : model.topics.get(node.id);
	if (one === undefined)
		return {name: node.id, rate: "", left: "not there", leftClass: "bad", state: "down", full: 0, title: node.id};
	const dropped = one.ledger?.dropped ?? 0, refused = (one.ledger?.refused ?? 0) + (one.refused ?? 0);
	const lost = [dropped > 0 && short(dropped) + " dropped", refused > 0 && short(refused) + " refused"].filter(Boolean);
	const losing = (one.dropping ?? 0) + (one.refusing ?? 0) + (node.kind === "queue" ? one.losing : 0);
	return {
		name: node.id, rate: rate(one.rate), full: one.full, left: percent(one.full), right: lost.length > 1 ? short(dropped + refused) + " lost" : lost[0],
		rightClass: "bad", state: losing > 0 ? "losing" : "",
		title: [node.id, `full: ${percent(one.full)}`, ...lost, losing > 0 && `now: ${rate(losing)}`].filter(Boolean).join("\n"),
	};
}

function showEdge(edge, model) {
	const topic = model.topics.get(edge.from.id) ?? model.topics.get(edge.to.id) ?? model.queues.get(edge.from.id) ?? model.queues.get(edge.to.id);
	const flows = topic?.rate ?? 0;
	const losing = edge.to.kind !== "stage" && (topic?.losing ?? 0) > 0;
	label(edge.path, "class", "edge" + (flows === 0 ? " idle" : "") + (losing ? " losing" : ""));
	label(edge.path, "stroke-width", flows === 0 ? "1" : Math.min(5, 1 + 0.7 * Math.log10(1 + flows)).toFixed(1));
}
