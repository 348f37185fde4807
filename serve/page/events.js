// Events as they come in: a socket of its own for the topic and filter that are chosen.
import {Live} from "./live.js";
import {byId, exact, label, make, say, time} from "./text.js";

const MOST = 200; // rows that are kept
// The field that names an event's kind, and what the filter is called for it; none: the topic has no such field.
const KINDS = {
	"track": ["type", "Type"], "track.raw": ["type", "Type"], "metric": ["metric", "Metric"], "log": ["client_id", "Client"],
	"delivery": ["outcome", "Outcome"],
};
const LEFT_OUT = new Set(["id", "ts"]);

export class Events {
	constructor() {
		this.held = [];
		this.paused = false;
		this.total = {seen: 0, passed: 0, skipped: 0, missed: 0};
		this.list = byId("events-list");
		byId("events-form").addEventListener("submit", (event) => {
			event.preventDefault();
			this.open();
		});
		byId("events-topic").addEventListener("change", () => {
			byId("events-filter").value = "";
			this.open();
		});
		byId("events-pause").addEventListener("click", () => this.pause(!this.paused));
		byId("events-clear").addEventListener("click", () => this.clear());
		document.addEventListener("visibilitychange", () => this.show());
	}

	/** The topics that there are; keeps the choice when it is still one of them. */
	topics(names) {
		const choice = byId("events-topic");
		if (names.join() === [...choice.options].map((one) => one.value).join())
			return;
		const before = choice.value;
		choice.replaceChildren(...names.map((name) => make("option", {value: name}, name)));
		choice.value = names.includes(before) ? before : names.find((name) => name === "track") ?? names[0] ?? "";
		if (choice.value !== before || this.live === undefined)
			this.open();
	}

	open() {
		this.topic = byId("events-topic").value;
		if (this.topic === "")
			return;
		const kind = KINDS[this.topic];
		const filter = byId("events-filter");
		filter.disabled = kind === undefined;
		say(byId("events-kind"), kind?.[1] ?? "Type");
		const query = new URLSearchParams({topic: this.topic, ticks: "0"});
		if (kind !== undefined && filter.value.trim() !== "")
			query.set("filter", filter.value.trim());
		for (const one of byId("events-where").value.split("&").map((text) => text.trim()))
			if (one !== "")
				query.append("where", one);
		this.live?.close();
		say(byId("events-error"), "");
		this.total = {seen: 0, passed: 0, skipped: 0, missed: 0};
		this.before = {...this.total};
		this.clear();
		this.live = new Live(query.toString(), {
			message: (message) => this.take(message),
			state: (state, {why}) => this.state(state, why),
		}, {quiet: 0});
	}

	state(state, why) {
		say(byId("events-error"), state === "refused" ? why : "");
		say(byId("events-none"), state === "open" ? "No events yet." : state === "refused" ? "Nothing is shown." : "Connecting.");
	}

	take(message) {
		if (message.type === "hello")
			this.before = {...this.total}; // a new connection counts from 0
		if (message.type !== "events" || message.topic !== this.topic)
			return;
		for (const key of Object.keys(this.total))
			this.total[key] = this.before[key] + (message[key] ?? 0);
		this.held.push(...message.events.slice(-MOST));
		if (this.held.length > MOST)
			this.held.splice(0, this.held.length - MOST);
		this.show();
	}

	/** Puts on the page what came, unless it is paused or nobody looks. */
	show() {
		for (const key of Object.keys(this.total))
			say(byId("events-" + key), exact(this.total[key]));
		if (!this.paused && !document.hidden && this.held.length > 0) {
			const box = byId("events-box");
			const height = box.scrollHeight, reading = box.scrollTop > 4 || this.list.querySelector("details[open]") !== null;
			this.list.prepend(...this.held.reverse().map(row));
			this.held = [];
			while (this.list.children.length > MOST)
				this.list.lastElementChild.remove();
			if (reading)
				box.scrollTop += box.scrollHeight - height;
		}
		const n = this.list.children.length;
		byId("events-none").hidden = n > 0;
		say(byId("events-shown"), exact(n) + (this.paused && this.held.length > 0 ? ` (${this.held.length === MOST ? "over " : ""}${this.held.length} held)` : ""));
	}

	pause(on) {
		this.paused = on;
		label(byId("events-pause"), "aria-pressed", String(on));
		this.show();
	}

	clear() {
		this.held = [];
		this.list.replaceChildren();
		this.show();
	}
}

function row(event) {
	const details = make("details", {}, make("summary", {}, time(event.ts, {date: false, fraction: true}), ...words(event)));
	details.addEventListener("toggle", () => {
		if (details.open && details.children.length === 1)
			details.append(make("pre", {}, JSON.stringify(event, null, 2)));
	});
	return make("li", {}, details);
}

/** The kind, then the fields with something in them; parameters first. */
function words(event) {
	const kind = ["type", "metric", "outcome", "client_id", "app_sha256"].find((key) => event[key] !== undefined);
	const rest = make("span", {class: "rest"});
	for (const [key, value] of Object.entries({params: "", ...event})) {
		if (LEFT_OUT.has(key) || key === kind || value === "" || value === null || value === "XX")
			continue;
		const parts = key === "params" && typeof value === "object" ? Object.entries(value) : [[key, value]];
		for (const [name, text] of parts)
			rest.append(make("span", {class: "key"}, name + "="), make("span", {class: "value"}, typeof text === "string" ? text : JSON.stringify(text)), " ");
	}
	return [make("span", {class: "kind"}, kind === undefined ? "" : String(event[kind])), rest];
}
