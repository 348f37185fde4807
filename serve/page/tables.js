// Stages, topics with their readers, and the ledger: the picture of the flow as text, and more.
import {byId, bytes, exact, percent, rate, short, span, svg, make, time} from "./text.js";
import {Table, badCell, timeCell} from "./table.js";

const number = (title) => ({title, number: true});

export class Tables {
	constructor() {
		this.stages = new Table(byId("stages-table"), "Processes", [
			{title: "Stage"}, {title: "State"}, number("Events"), number("Restarts"), {title: "Last exit"}, number("Heartbeat"), number("Up"), number("PID"), {title: "Note", cut: true}]);
		this.topics = new Table(byId("topics-table"), "Topics with each group of readers, and queues", [
			{title: "Topic, reader"}, number("Events"), {title: "Full"}, number("Waiting"), number("Oldest"), number("Missed"), number("Size"), number("In all"), {title: "Kind"}]);
		this.ledger = new Table(byId("ledger-table"), "Ledger: received = rejected + dropped + refused + written", [
			{title: "Topic"}, number("Received"), number("Rejected"), number("Dropped"), number("Refused"), number("By the kernel"), number("Written"), number("Lost now"), {title: "Balanced"}, {title: "Rejected for", wide: true}], {seen: true});
	}

	tick(model) {
		this.stages.show([...model.stages.values()].map((stage) => stageRow(stage, model)));
		this.topics.show([...model.topics.values()].flatMap(topicRows).concat([...model.queues.values()].map(queueRow)));
		this.ledger.show([...model.topics.values()].map(ledgerRow));
	}
}

function stageRow(stage, model) {
	const state = {text: stage.state, class: stage.state === "running" ? "" : stage.state === "draining" || stage.state === "starting" ? "warn" : "bad"};
	const up = stage.state === "running" || stage.state === "draining" ? span(1000 * Math.floor((model.now_ms - stage.started_ms) / 1000)) : "–";
	return {key: stage.name, cells: [
		stage.name, state, rate(stage.program === "deliver" ? stage.per("attempts") : stage.program === "serve" ? stage.per("requests") : stage.rate),
		{text: exact(stage.restarts), class: stage.restarts > 0 ? "warn" : "dim"}, exit(stage.last_exit),
		{text: span(stage.heartbeat_age_ms), class: stage.heartbeat_age_ms > 3000 ? "warn" : "dim"}, up, String(stage.pid), stage.note]};
}

/** A wait status as the shell would say it. */
function exit(status) {
	if (status === null)
		return {text: "–", class: "dim"};
	return (status & 127) === 0 ? `status ${(status >> 8) & 255}` : {text: `signal ${status & 127}`, class: "warn"};
}

function topicRows(topic) {
	const rows = topic.groups.map((group) => ({key: topic.name + "\n" + group.group, sub: true, cells: [
		group.group, rate(group.rate), group.required ? gauge(group.full) : {text: "–", class: "dim"}, exact(group.waiting_records),
		group.waiting_records === 0 || group.oldest_age_ms === null ? "–" : {text: span(group.oldest_age_ms), class: group.oldest_age_ms > 10000 ? "warn" : ""},
		group.required ? badCell(group.missed_records, exact(group.missed_records)) : exact(group.missed_records),
		bytes(group.waiting_bytes), short(group.read_records), group.lapsed ? {text: "lapsed", class: "bad"} : group.required ? "required" : "optional"]}));
	return [{key: topic.name, cells: [
		topic.name, rate(topic.rate), gauge(topic.full), exact(topic.waiting), "", "", bytes(topic.size_bytes), short(topic.ledger.written),
		topic.kept ? topic.when_full : {text: "not kept", class: "dim", title: "no required group reads it"}]}, ...rows];
}

function queueRow(queue) {
	return {key: "queue\n" + queue.name, cells: [
		queue.name, rate(queue.rate), gauge(queue.full), exact(queue.ready), "", badCell(queue.refused, queue.refused > 0 ? `${exact(queue.refused)} refused` : "0"),
		`${exact(queue.slots)} slots`, `${exact(queue.taken)} taken`, "queue"]};
}

function ledgerRow(topic) {
	const {ledger} = topic;
	const reasons = Object.entries(ledger.rejected).filter(([, n]) => n > 0).map(([reason, n]) => `${reason} ${exact(n)}`).join(", ");
	return {key: topic.name, cells: [
		topic.name, exact(ledger.received), {text: exact(topic.rejected), class: topic.rejected > 0 ? "warn" : "dim"}, badCell(ledger.dropped, exact(ledger.dropped)),
		badCell(ledger.refused, exact(ledger.refused)), badCell(ledger.kernel_dropped, exact(ledger.kernel_dropped)), exact(ledger.written),
		badCell(topic.losing, rate(topic.losing)), ledger.balanced ? "yes" : {text: "not now", class: "warn"}, reasons]};
}

/** A bar and the share as text. */
function gauge(share) {
	const shown = Math.round(1000 * Math.min(1, share)) / 10;
	return {mark: `${shown}`, node: () => make("span", {class: share >= 0.8 ? "bad" : ""}, make("span", {class: "gauge", "aria-hidden": "true"},
		svg("svg", {}, svg("rect", {width: shown + "%", height: "100%", fill: share >= 0.8 ? "var(--bad)" : "var(--c0)"}))), percent(share))};
}

// ---- sinks ----

export function sinksTable() {
	const table = new Table(byId("sinks-table"), "Each entry of the list sinks", [
		{title: "Sink"}, {title: "Kind"}, {title: "State"}, number("Unread"), number("Open"), number("Waiting"), number("Spool"), number("Oldest"),
		{title: "Last object"}, number("Finished"), number("Bytes"), {title: "Note", cut: true}], {none: "No sinks are configured."});
	return (sinks) => table.show(sinks.map((sink) => ({key: `${sink.peer}\n${sink.name}`, cells: [
		sink.peer ? `${sink.name} of ${sink.peer}` : sink.name, sink.program,
		sink.failing ? {text: sink.failing_since > 0 ? `fails for ${span(Date.now() - 1000 * sink.failing_since)}` : "fails", class: "bad"} : {text: sink.state, class: sink.state === "running" ? "" : "bad"},
		maybe(sink.waiting_records, exact), maybe(sink.open_objects, exact), maybe(sink.waiting_bytes, bytes), maybe(sink.spool_bytes, bytes),
		maybe(sink.oldest_unsafe_seconds, (s) => span(1000 * s)), timeCell(1000 * (sink.last_object_time ?? 0), time), maybe(sink.objects, exact),
		maybe(sink.object_bytes, bytes), sinkNote(sink)]})));
}

const maybe = (value, show) => (value === undefined ? {text: "–", class: "dim"} : show(value));

function sinkNote(sink) {
	const abandoned = sink.abandoned > 0 ? `${exact(sink.abandoned)} uploads abandoned (millrace sinks). ` : "";
	return {text: abandoned + sink.note, class: abandoned !== "" || sink.failing ? "bad" : ""};
}

export {number};
