// Questions to the API, and the tokens that it may want: asked for in a dialog, kept for this tab alone.
import {byId, say} from "./text.js";

const PATIENCE_MS = 10000;
const store = {
	get: (who) => { try { return sessionStorage.getItem("millrace." + who); } catch { return kept[who] ?? null; } },
	set: (who, token) => { kept[who] = token; try { sessionStorage.setItem("millrace." + who, token); } catch { /* for this load then */ } },
};
const kept = {};

/** status 0: there was no answer at all. */
export class Problem extends Error {
	constructor(status, detail) {
		super(detail);
		this.status = status;
	}
}

/** The token of "reader" or "admin", whichever opens a route for readers; null: there is none. */
export const token = (who = "reader") => (who === "admin" ? store.get("admin") : store.get("reader") ?? store.get("admin"));

/** What use(response) makes of the answer; a Problem with status 0 when there is none, or not all of it. */
async function fetched(path, method, who, type, use) {
	const headers = {Accept: type};
	const mine = token(who);
	if (mine !== null)
		headers.Authorization = "Bearer " + mine;
	try {
		return await use(await fetch(path, {method, headers, credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS)}));
	} catch (error) {
		throw new Problem(0, error.name === "TimeoutError" ? "it took too long" : "the instance is not reached");
	}
}

async function problemOf(response) {
	const said = await response.json().catch(() => null);
	return new Problem(response.status, typeof said?.detail === "string" ? said.detail : response.statusText || "no answer that can be read");
}

/** The answer as JSON; throws a Problem. Asks for a token when it needs one. */
export async function ask(path, {method = "GET", who = "reader"} = {}) {
	for (;;) {
		const before = token(who);
		const answer = await fetched(path, method, who, "application/json",
			async (response) => (response.ok ? {body: await response.json()} : {problem: await problemOf(response)}));
		if (answer.problem === undefined)
			return answer.body;
		if (answer.problem.status !== 401 || !(await askToken(who, answer.problem.message, before)))
			throw answer.problem;
	}
}

/** Why a stream of events is refused: a Problem; null: it is not, or nobody answers. */
export async function whyNot(path) {
	try {
		return await fetched(path, "GET", "reader", "text/event-stream", async (response) => {
			if (!response.ok)
				return problemOf(response);
			await response.body.cancel();
			return null;
		});
	} catch {
		return null;
	}
}

// ---- the dialog ----

let open = null; // a promise while the dialog is shown: all who need a token wait for the same one
const declined = {}; // who does not want to be asked again

/** Who was asked and had none may be asked again. */
export function askAgain() {
	declined.reader = false;
}

/** True when there is a token other than `before` to try. */
export async function askToken(who, why, before = token(who)) {
	if (token(who) !== before)
		return true;
	if (open !== null) {
		await open;
		return token(who) !== before;
	}
	if (who === "reader" && declined.reader)
		return false;
	open = show(who, why);
	const given = await open;
	open = null;
	declined[who] = given === null;
	if (given !== null)
		store.set(who, given);
	return given !== null;
}

function show(who, why) {
	const dialog = byId("token");
	const field = byId("token-text");
	say(byId("token-why"), why);
	say(byId("token-who"), who === "admin" ? "Token of an administrator" : "Token of a reader");
	field.value = "";
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise((done) => {
		dialog.addEventListener("close", () => {
			const text = field.value.trim();
			field.value = "";
			done(dialog.returnValue === "ok" && text !== "" ? text : null);
		}, {once: true});
	});
}

/** Runs look() now and each so many milliseconds while the element can be seen. Returns a function that runs it at once. */
export function whileSeen(element, every, look) {
	let seen = false, running = false, timer = 0;
	const turn = async () => {
		clearTimeout(timer);
		if (running || !seen || document.hidden)
			return;
		running = true;
		try {
			await look();
		} catch (error) {
			if (!(error instanceof Problem))
				console.error(error);
		}
		running = false;
		timer = setTimeout(turn, every);
	};
	new IntersectionObserver((entries) => {
		seen = entries.at(-1).isIntersecting;
		turn();
	}, {rootMargin: "200px"}).observe(element);
	document.addEventListener("visibilitychange", turn);
	return turn;
}
