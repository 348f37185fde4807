// A connection to /live that comes back by itself, later and later while nobody answers.
import {askToken, token, whyNot} from "./ask.js";

const LONGEST_TOKEN = 80; // in bytes, that fits in a subprotocol
const FIRST_MS = 500, LONGEST_MS = 15000, QUIET_MS = 6000, GRACE_MS = 1000;

const bytes = (text) => new TextEncoder().encode(text);
const encode = (text) => btoa(String.fromCharCode(...bytes(text)))
	.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** Server-sent events in the manner of a WebSocket: for a token that is too long for one. */
class Stream {
	constructor(url, mine) {
		this.ending = new AbortController();
		this.read(url, mine).catch(() => null).finally(() => this.onclose());
	}

	async read(url, mine) {
		const headers = {Accept: "text/event-stream", Authorization: "Bearer " + mine};
		const response = await fetch(url, {headers, credentials: "omit", signal: this.ending.signal});
		if (!response.ok)
			return;
		this.onopen();
		const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
		let text = "";
		for (let part = await reader.read(); !part.done; part = await reader.read()) {
			const events = (text + part.value).split("\n\n");
			text = events.pop();
			for (const data of events.map((event) => event.split("\n").find((line) => line.startsWith("data: "))))
				if (data !== undefined)
					this.onmessage({data: data.slice(6)});
		}
	}

	close() {
		this.ending.abort();
	}
}

function open(query) {
	const url = new URL("live?" + query, location.href), mine = token();
	if (mine !== null && bytes(mine).length > LONGEST_TOKEN)
		return new Stream(url, mine);
	url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
	return new WebSocket(url, mine === null ? ["millrace.v1"] : ["millrace.v1", "bearer." + encode(mine)]);
}

/** handlers: message(object), state("open" | "waiting" | "trying" | "refused", {seconds, why}). */
export class Live {
	constructor(query, handlers, {quiet = QUIET_MS} = {}) {
		this.query = query;
		this.handlers = handlers;
		this.quiet = quiet; // 0: a silent connection is a good one
		this.delay = FIRST_MS;
		this.closed = false;
		this.wake = () => { if (!document.hidden && this.retry) this.now(); };
		addEventListener("online", this.wake);
		document.addEventListener("visibilitychange", this.wake);
		this.connect();
	}

	connect() {
		clearTimeout(this.retry);
		this.retry = 0;
		this.handlers.state("trying", {});
		const socket = open(this.query);
		let opened = false;
		this.socket = socket;
		this.watch();
		socket.onopen = () => { opened = true; };
		socket.onmessage = (event) => {
			if (socket !== this.socket)
				return;
			this.watch();
			const message = JSON.parse(event.data);
			if (message.type === "hello") {
				this.delay = FIRST_MS;
				this.handlers.state("open", {});
			}
			this.handlers.message(message);
		};
		socket.onclose = () => {
			if (socket === this.socket)
				this.lost(opened);
		};
	}

	/** Ends a connection over which nothing comes any more. A page that was held up itself first reads what has come meanwhile. */
	watch() {
		clearTimeout(this.watcher);
		if (this.quiet > 0)
			this.watcher = setTimeout(() => { this.watcher = setTimeout(() => this.drop(), GRACE_MS); }, this.quiet);
	}

	drop() {
		const socket = this.socket;
		this.socket = null;
		socket.close();
		this.lost(true);
	}

	async lost(opened) {
		clearTimeout(this.watcher);
		this.socket = null;
		// Why an upgrade failed is not told to pages; a plain question with the same parameters says it.
		const why = opened ? null : await whyNot("live?" + this.query);
		if (this.closed || this.socket !== null || this.retry)
			return;
		if (why !== null && why.status === 401 && await askToken("reader", why.message)) {
			this.connect();
			return;
		}
		if (why !== null && (why.status === 400 || why.status === 404)) {
			this.handlers.state("refused", {why: why.message});
			return;
		}
		const wait = this.delay * (0.75 + Math.random() / 2);
		this.delay = Math.min(2 * this.delay, LONGEST_MS);
		this.handlers.state("waiting", {seconds: wait / 1000, why: why?.message});
		this.retry = setTimeout(() => this.connect(), wait);
	}

	now() {
		this.delay = FIRST_MS;
		this.connect();
	}

	close() {
		this.closed = true;
		clearTimeout(this.retry);
		clearTimeout(this.watcher);
		removeEventListener("online", this.wake);
		document.removeEventListener("visibilitychange", this.wake);
		if (this.socket !== null)
			this.socket.close();
		this.socket = null;
	}
}
