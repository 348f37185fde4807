// Numbers and times for reading, and elements made without any HTML: what events say is text, whatever it looks like.

const GAP = "\u202f"; // narrow, and no line breaks in it
const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit"});
const dated = new Intl.DateTimeFormat("en-GB", {
	day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** 1234567 -> "1.23 M"; three digits, and all of them below 1,000. */
export function short(n) {
	if (n === null || n === undefined || !Number.isFinite(n))
		return "–";
	const size = Math.abs(n);
	if (size < 999.5)
		return size === 0 || size >= 99.5 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(size < 9.95 ? 1 : 0);
	const power = Math.min(6, Math.floor((Math.log10(size) + 0.0002) / 3));
	const scaled = n / 1000 ** power;
	const places = Math.abs(scaled) < 9.995 ? 2 : Math.abs(scaled) < 99.95 ? 1 : 0;
	return scaled.toFixed(places) + GAP + "kMGTPE"[power - 1];
}

/** "1.23 M/s" */
export const rate = (n) => (n > 0 && n < 0.05 ? "<0.1" : short(n)) + "/s";

/** "1,234,567" */
export const exact = (n) => (Number.isFinite(n) ? whole.format(n) : "–");

export function bytes(n) {
	if (!Number.isFinite(n))
		return "–";
	const power = n < 1024 ? 0 : Math.min(5, Math.floor(Math.log2(n) / 10));
	const scaled = n / 1024 ** power;
	return scaled.toFixed(power === 0 || scaled >= 99.95 ? 0 : 1) + GAP + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power];
}

export function percent(share) {
	const n = 100 * share;
	return (n === 0 || n >= 9.95 ? n.toFixed(0) : n < 0.1 ? "<0.1" : n.toFixed(1)) + GAP + "%";
}

/** Of milliseconds: "385 ms", "7.4 s", "2 m 18 s", "3 h 07 m", "5 d 2 h". */
export function span(ms) {
	if (!Number.isFinite(ms))
		return "–";
	const s = Math.max(0, ms) / 1000;
	const two = (n) => String(n).padStart(2, "0");
	if (s < 0.9995)
		return (ms > 0 && ms < 0.995 ? ms.toFixed(2) : ms.toFixed(ms < 9.95 && ms > 0 ? 1 : 0)) + GAP + "ms";
	if (s < 59.95)
		return s.toFixed(s < 9.95 ? 1 : 0) + GAP + "s";
	if (s < 3600)
		return `${Math.floor(s / 60)}${GAP}m${GAP}${two(Math.floor(s % 60))}${GAP}s`;
	if (s < 86400)
		return `${Math.floor(s / 3600)}${GAP}h${GAP}${two(Math.floor(s / 60) % 60)}${GAP}m`;
	return `${Math.floor(s / 86400)}${GAP}d${GAP}${Math.floor(s / 3600) % 24}${GAP}h`;
}

const isTime = (ms) => Number.isFinite(ms) && Math.abs(ms) <= 8.64e15;
export const utc = (ms) => (isTime(ms) ? new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC") : "");

/** A <time> in the reader's zone, with UTC as its title. */
export function time(ms, {date = true, fraction = false} = {}) {
	if (!isTime(ms) || ms === 0)
		return document.createTextNode("–");
	const at = new Date(ms);
	const text = (date ? dated : clock).format(at) + (fraction ? "." + String(at.getMilliseconds()).padStart(3, "0") : "");
	return make("time", {datetime: at.toISOString(), title: utc(ms)}, text);
}

/** Text in which nothing hides or turns round what stands beside it: control characters and those of writing direction as \uXXXX, as
 * `millrace tap` shows them. */
export const visible = (text) => text.replace(/[\0-\t\v-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
	(one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));

/** An element: attributes (class, title, data-x, ...; on* are listeners; null and false are left out), then children: nodes or text. */
export function make(name, attributes = {}, ...children) {
	return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
	return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
	for (const [key, value] of Object.entries(attributes)) {
		if (value === null || value === undefined || value === false)
			continue;
		if (key.startsWith("on"))
			element.addEventListener(key.slice(2), value);
		else
			element.setAttribute(key, value === true ? "" : visible(String(value)));
	}
	for (const child of children)
		if (child !== null && child !== undefined && child !== false)
			element.append(child instanceof Node ? child : visible(String(child)));
	return element;
}

/** Sets text only where it changes, so that nothing is drawn or read out for nothing. */
export function say(element, text) {
	const shown = visible(text);
	if (element.textContent !== shown)
		element.textContent = shown;
}

export function label(element, name, value) {
	if (value === null)
		element.removeAttribute(name);
	else if (element.getAttribute(name) !== visible(value))
		element.setAttribute(name, visible(value));
}

export const byId = (id) => document.getElementById(id);
