// The page: one socket for the figures of each second, and the sections that show them.
import {ask, askAgain} from "./ask.js";
import {Chart, loadCharts} from "./charts.js";
import {showBoxes, showConsumers, showDeliveries, showHourly, showSinks} from "./counts.js";
import {showDead} from "./dead.js";
import {Events} from "./events.js";
import {Flow} from "./flow.js";
import {Live} from "./live.js";
import {Model} from "./model.js";
import {Tables} from "./tables.js";
import {byId, exact, label, rate, say, short, span} from "./text.js";

const model = new Model();
const flow = new Flow(byId("flow-picture"));
const tables = new Tables();
const events = new Events();
const charts = {
	received: new Chart("Received, by topic", {unit: rate}),
	waiting: new Chart("Events that wait, by reader", {unit: short}),
	lost: new Chart("Lost, refused and rejected", {unit: rate, colours: {"rejected": 5, "dropped": 7, "dropped by the kernel": 3, "refused": 1}}),
	oldest: new Chart("Age of the oldest event that waits", {unit: span, least: 100}),
};
byId("charts-list").append(...Object.values(charts).map((chart) => chart.element));
const tickDeliveries = showDeliveries();
const lookForBoxes = showBoxes();
showConsumers();
showHourly();
showSinks();
showDead();

// ---- colours ----

const THEMES = ["auto", "light", "dark"];
const button = byId("theme");

function theme(name) {
	if (name === "auto")
		delete document.documentElement.dataset.theme;
	else
		document.documentElement.dataset.theme = name;
	say(button, name);
	button.setAttribute("aria-label", `Colours: ${name}`);
	try { localStorage.setItem("millrace.theme", name); } catch { /* for this load then */ }
}

button.addEventListener("click", () => theme(THEMES[(THEMES.indexOf(button.textContent) + 1) % THEMES.length]));
theme(document.documentElement.dataset.theme ?? "auto");

// ---- the connection ----

let countdown = 0;

function state(name, {seconds, why}) {
	clearInterval(countdown);
	byId("link-now").hidden = name !== "waiting";
	say(byId("link-wait"), "");
	label(byId("link-mark"), "data-state", name === "open" ? "good" : name === "waiting" || name === "refused" ? "bad" : "wait");
	// The countdown is not read out, and a further try alone is no news.
	if (name === "open")
		say(byId("link-text"), "live");
	else if (name === "waiting" || name === "refused")
		say(byId("link-text"), why ? `not connected: ${why}` : "not connected, tries again");
	if (name !== "waiting")
		return;
	const until = performance.now() + 1000 * seconds;
	const show = () => say(byId("link-wait"), `next try in ${Math.max(0, Math.ceil((until - performance.now()) / 1000))} s`);
	show();
	countdown = setInterval(show, 500);
}

let flowOf = ""; // the stages, topics and queues that the picture was asked for with

async function loadFlow() {
	const drawn = await ask("api/flow");
	say(byId("flow-error"), "");
	flow.take(drawn);
	events.topics(drawn.nodes.filter((node) => node.kind === "topic").map((node) => node.id));
}

function take(message) {
	if (message.type === "hello") {
		flowOf = "";
		lookForBoxes();
	}
	if (message.type === "tick") {
		const names = JSON.stringify([message.stat.generation, ...["stages", "topics", "queues"].map((key) => message.stat[key].map((one) => one.name ?? one.topic ?? one.queue))]);
		if (names !== flowOf)
			loadFlow().catch((error) => {
				say(byId("flow-error"), `No picture: ${error.message}`);
				setTimeout(() => { flowOf = ""; }, 5000);
			});
		flowOf = names;
		tick(message);
	}
}

function tick({now_ms, stat}) {
	const known = model.stat?.generation;
	const rates = model.take(now_ms, stat);
	if (known !== undefined && known !== stat.generation)
		Object.values(charts).forEach((chart) => chart.clear());
	if (document.hidden && !rates)
		return;
	if (rates)
		draw(now_ms);
	if (document.hidden)
		return;
	flow.tick(model);
	tables.tick(model);
	head(stat, rates);
}

function draw(now_ms) {
	const topics = [...model.topics.values()], all = (value) => topics.reduce((sum, topic) => sum + value(topic), 0);
	charts.received.push(now_ms, new Map(topics.map((topic) => [topic.name, topic.received])));
	const groups = topics.flatMap((topic) => topic.groups.filter((group) => group.required).map((group) => [`${topic.name} → ${group.group}`, group]));
	charts.waiting.push(now_ms, new Map(groups.map(([name, group]) => [name, group.waiting_records])));
	charts.oldest.push(now_ms, new Map(groups.map(([name, group]) => [name, group.oldest_age_ms ?? 0])));
	charts.lost.push(now_ms, {
		"rejected": all((topic) => topic.rejecting), "dropped": all((topic) => topic.dropping), "dropped by the kernel": all((topic) => topic.kernel),
		"refused": all((topic) => topic.refusing) + [...model.queues.values()].reduce((sum, queue) => sum + queue.losing, 0)});
	tickDeliveries(model);
}

function head(stat, rates) {
	say(byId("instance"), stat.instance + (stat.draining ? " (draining)" : ""));
	document.title = `${model.losing > 0 ? "! " : ""}${stat.instance} – millrace`;
	say(byId("head-in"), rates ? rate(model.taken_in) : "–");
	say(byId("head-waiting"), short(model.waiting));
	say(byId("head-lost"), model.lost === 0 ? "nothing" : short(model.lost));
	label(byId("head-lost"), "title", `${exact(model.lost)} dropped, refused or missed since the start`);
	label(byId("head-lost"), "class", model.lost > 0 ? "bad" : null);
	say(byId("head-up"), span(1000 * Math.floor((model.now_ms - stat.created_ms) / 1000)));
}

const live = new Live("ticks=1", {message: take, state});
byId("link-now").addEventListener("click", () => {
	askAgain();
	live.now();
});
requestAnimationFrame(() => setTimeout(loadCharts)); // after the first paint
