// What tally counts: consumers of tracking events, metrics of the last hour, deliveries by endpoint; and sinks.
import {ask, whileSeen} from "./ask.js";
import {Chart} from "./charts.js";
import {byId, exact, make, percent, rate, say, span, svg, time} from "./text.js";
import {Table, timeCell} from "./table.js";
import {number, sinksTable} from "./tables.js";
import {histogramGain} from "./model.js";

const EVERY_MS = 2000, NOTHING_MS = 10000, SHOWN = 10, LINES = 5;
const TITLES = {type: "Types", pods: "Pods", addresses: "Client addresses", countries: "Countries", search: "Search terms"};

/** Asks path; null and the reason in note when there is no answer. A table that does not exist yet is asked for less often. */
async function look(path, note) {
	if (note.later > performance.now())
		return null;
	try {
		const answer = await ask(path);
		say(note, answer.missing?.length > 0 ? `Without ${answer.missing.join(", ")}: no answer.` : "");
		return answer;
	} catch (error) {
		say(note, error.status === 404 ? "Nothing was counted yet." : `No answer: ${error.message}`);
		note.later = performance.now() + (error.status === 404 ? NOTHING_MS : 0);
		return null;
	}
}

// ---- consumers ----

export function showConsumers() {
	const note = byId("consumers-note");
	const list = byId("consumers-list");
	for (const [name, title] of Object.entries(TITLES))
		list.append(consumer(name, title, note));
	list.append(timing(note));
}

function consumer(name, title, note) {
	const chart = new Chart(title, {unit: rate, table: false, points: 150, every: Infinity});
	const about = make("p", {class: "note"});
	const table = make("table");
	const rows = new Table(table, `${title}: the most frequent`, [{title: "Key", cut: true}, number("Count"), number("Share"), {title: ""}, number("Now")], {none: "None yet."});
	chart.element.append(make("div", {class: "scroll", role: "group", tabindex: 0, "aria-label": title}, table), about);
	let before = null;
	whileSeen(chart.element, EVERY_MS, async () => {
		const answer = await look(`consumers/${name}?limit=${SHOWN}`, note);
		if (answer === null)
			return;
		const now = Date.now();
		const rates = ratesOf(answer.list, before, now);
		before = {at: now, counts: new Map(answer.list.map((one) => [one.key, one.count]))};
		chart.push(now, new Map([...rates].slice(0, LINES)));
		rows.show(answer.list.map((one) => ({key: one.key, cells: [
			{node: () => make("span", {title: one.key}, chart.swatch(one.key), one.key === "" ? "(empty)" : one.key), mark: one.key + chart.shown.indexOf(one.key)},
			{text: (one.error > 0 ? "≤ " : "") + exact(one.count), title: one.error > 0 ? `between ${exact(one.count - one.error)} and ${exact(one.count)}` : null},
			answer.total > 0 ? percent(one.count / answer.total) : "–", bar(answer.list[0].count > 0 ? one.count / answer.list[0].count : 0),
			rates.has(one.key) ? rate(rates.get(one.key)) : "–"]})));
		say(about, `${exact(answer.total)} in all, ${exact(answer.keys)} ${answer.keys === 1 ? "key" : "keys"}` + (answer.forgotten > 0 ? `; any other occurred at most ${exact(answer.forgotten)} times` : ""));
	});
	return chart.element;
}

function ratesOf(list, before, now) {
	const rates = new Map();
	for (const one of list) {
		const last = before?.counts.get(one.key);
		if (last !== undefined && now > before.at)
			rates.set(one.key, Math.max(0, one.count - last) / ((now - before.at) / 1000));
	}
	return rates;
}

/** Averages of what came between two answers. */
function timing(note) {
	const chart = new Chart("Timing", {unit: span, points: 150, every: Infinity, note: "averages"});
	let before = null;
	whileSeen(chart.element, EVERY_MS, async () => {
		const answer = await look("consumers/timing", note);
		if (answer === null)
			return;
		if (before !== null && answer.total > before.total && before.klag_ms !== null) {
			const recent = (key) => Math.max(0, (answer[key] * answer.total - before[key] * before.total) / (answer.total - before.total));
			chart.push(Date.now(), {"arrival to enrichment": recent("klag_ms"), "arrival to counting": recent("counting_ms")});
		}
		before = answer;
	});
	return chart.element;
}

/** A bar in a table. */
function bar(share) {
	const shown = (100 * Math.min(1, share)).toFixed(1) + "%";
	return {mark: shown, node: () => make("span", {class: "gauge", "aria-hidden": "true"}, svg("svg", {}, svg("rect", {width: shown, height: "100%", fill: "var(--bar)"})))};
}

// ---- metrics of the last hour ----

export function showHourly() {
	const by = byId("hourly-by");
	const note = byId("hourly-note");
	const table = new Table(byId("hourly-table"), "Statistics of the last 60 minutes", [
		{title: "Metric", cut: true}, {title: "User", cut: true}, number("Minimum"), number("Average"), number("Maximum"), number("Events"), {title: ""}]);
	const again = whileSeen(byId("hourly"), EVERY_MS, async () => {
		const answer = await look(`metrics/hourly_logs/${by.value}?limit=50`, note);
		if (answer === null)
			return;
		const most = Math.max(1, ...answer.map((one) => one.count));
		table.show(answer.map((one) => {
			const {metric, username} = typeof one._id === "object" ? one._id : {metric: one._id};
			return {key: `${username}\n${metric}`, cells: [
				one.other || metric === undefined ? "(others)" : metric, username ?? {text: "all", class: "dim"},
				exact(one.minimum), one.average.toLocaleString("en", {maximumFractionDigits: 2}), exact(one.maximum), exact(one.count), bar(one.count / most)]};
		}));
		if (answer.length === 50)
			say(note, "The first 50.");
	});
	by.addEventListener("change", () => {
		note.later = 0;
		again();
	});
}

// ---- deliveries ----

const OUTCOMES = ["delivered", "again", "dead", "gone"];

export function showDeliveries() {
	const note = byId("deliveries-note");
	const charts = {
		outcomes: new Chart("Attempts by outcome", {unit: rate, colours: {"delivered": 2, "to be tried again": 1, "dead": 7}}),
		latency: new Chart("Duration of an attempt", {unit: span, note: "at most"}),
	};
	byId("deliveries-charts").append(charts.outcomes.element, charts.latency.element);
	const table = new Table(byId("deliveries-table"), "Attempts by endpoint", [
		{title: "Endpoint", cut: true}, number("Attempts"), number("Success"), ...OUTCOMES.map((one) => number(one[0].toUpperCase() + one.slice(1))),
		number("Average"), number("p50"), number("p90"), number("p99")], {none: "No attempts in the last hour."});
	whileSeen(byId("deliveries"), EVERY_MS, async () => {
		const answer = await look("deliveries/counts?since=1h&limit=50", note);
		if (answer === null)
			return;
		const items = answer.items.toSorted((a, b) => b.attempts - a.attempts);
		table.show((items.length > 1 ? [{...answer.all, endpoint: "all together", all: true}] : []).concat(items).map(endpointRow));
		if (answer.total > answer.items.length)
			say(note, `${exact(answer.items.length)} of ${exact(answer.total)} endpoints.`);
	});
	return (model) => tickDeliveries(model, charts);
}

function endpointRow(one) {
	const us = (value) => (value === undefined ? "–" : span(value / 1000));
	const name = one.endpoint ?? "(others)";
	return {key: one.all ? "\n" : String(one.endpoint), cells: [
		{text: name, title: name}, exact(one.attempts), {text: percent(one.success ?? 0), class: one.success < 0.9 ? "warn" : ""},
		...OUTCOMES.map((outcome) => outcomeCell(outcome, one.outcomes?.[outcome]?.count ?? 0)), us(one.average_us), us(one.p50_us), us(one.p90_us), us(one.p99_us)]};
}

function outcomeCell(outcome, n) {
	return {text: exact(n), class: n === 0 ? "dim" : outcome === "dead" || outcome === "gone" ? "bad" : outcome === "again" ? "warn" : ""};
}

/** Outcomes and durations of the last second, from the figures of the stages that deliver. */
function tickDeliveries(model, charts) {
	const stages = [...model.stages.values()].filter((stage) => stage.program === "deliver");
	if (stages.length === 0)
		return;
	const add = (name) => stages.reduce((all, stage) => all + stage.per(name), 0);
	const delivered = add("delivered"), dead = add("dead");
	charts.outcomes.push(model.now_ms, {delivered, "to be tried again": Math.max(0, add("attempts") - delivered - dead), dead});
	const gains = stages.map((stage) => histogramGain(stage.before?.histograms?.attempt_us, stage.histograms?.attempt_us));
	const at = (share) => gains.reduce((most, one) => (one.count > 0 && one.at(share) !== null ? Math.max(most ?? 0, one.at(share) / 1000) : most), null);
	const count = gains.reduce((all, one) => all + one.count, 0);
	charts.latency.push(model.now_ms, {
		"average": count > 0 ? gains.reduce((all, one) => all + one.sum, 0) / count / 1000 : null, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99)});
}

// ---- sinks ----

export function showSinks() {
	const show = sinksTable();
	const note = byId("sinks-note");
	whileSeen(byId("sinks"), EVERY_MS, async () => {
		const answer = await look("sinks", note);
		if (answer !== null)
			show(answer.sinks);
	});
}

// ---- boxes ----

/** Returns what is called after each new connection: there may be peers now. */
export function showBoxes() {
	const box = byId("boxes"), note = byId("boxes-note");
	const table = new Table(byId("boxes-table"), "This box and its peers", [
		{title: "Box", cut: true}, {title: "State"}, {title: "Last answer"}, number("Took"), {title: "Instance"}, {title: "Version"}, {title: "Reason", wide: true}]);
	const turn = async () => {
		const answer = await look("fleet", note);
		if (answer === null)
			return;
		box.hidden = byId("boxes-link").hidden = answer.peers.length === 0;
		table.show([{...answer, url: `${answer.name} (this box)`, state: "up"}, ...answer.peers].map((one) => ({key: one.url, cells: [
			one.url, {text: one.state, class: one.state === "up" ? "" : one.state === "down" ? "bad" : "dim"}, timeCell(one.last_answer_ms ?? 0, time),
			one.took_ms === undefined ? "–" : span(one.took_ms), one.instance ?? "–", one.version ?? "–", one.reason ?? ""]})));
	};
	whileSeen(box, EVERY_MS, turn);
	return turn;
}
