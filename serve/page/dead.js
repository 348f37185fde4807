// Dead letters: listed, looked at, sent again.
import {ask, whileSeen} from "./ask.js";
import {byId, exact, make, say, time} from "./text.js";
import {Table, timeCell} from "./table.js";
import {number} from "./tables.js";

const PAGE = 20, EVERY_MS = 2000;

export function showDead() {
	const note = byId("dead-note"), more = byId("dead-more");
	const state = {older: [], next: undefined, letters: []};
	const table = new Table(byId("dead-table"), "The newest first", [
		{title: "Endpoint", cut: true}, {title: "Died"}, {title: "Reason", wide: true}, {title: "Method"}, number("Status"), number("Attempts"), {title: ""}],
	{none: "None: everything was delivered or still waits."});
	const show = (first) => {
		const seen = new Set(first.map((letter) => letter.id));
		state.letters = first.concat(state.older.filter((letter) => !seen.has(letter.id)));
		table.show(state.letters.map((letter) => row(letter, again)));
		more.hidden = state.next === undefined;
	};
	const again = whileSeen(byId("dead"), EVERY_MS, async () => {
		try {
			const answer = await ask(`dead?limit=${PAGE}`);
			if (state.older.length === 0)
				state.next = answer.next;
			show(answer.letters);
			say(note, "");
		} catch (error) {
			say(note, `No answer: ${error.message}`);
			throw error;
		}
	});
	more.addEventListener("click", async () => {
		try {
			const answer = await ask(`dead?limit=${PAGE}&after=${encodeURIComponent(state.next)}`);
			state.older = state.letters.concat(answer.letters);
			state.next = answer.next;
			show(state.letters);
		} catch (error) {
			say(note, `No answer: ${error.message}`);
		}
	});
	const forget = (id) => {
		state.older = state.older.filter((letter) => letter.id !== id);
		show(state.letters.filter((letter) => letter.id !== id));
	};
	byId("dead-table").addEventListener("replay", (event) => forget(event.detail));
}

function row(letter, again) {
	return {key: letter.id, cells: [
		{text: letter.endpoint, title: letter.url}, timeCell(letter.dead_ts, time), letter.reason, letter.method,
		letter.status > 0 ? String(letter.status) : "–", exact(letter.attempts),
		{mark: letter.id, node: () => make("span", {},
			make("button", {type: "button", onclick: () => look(letter)}, "Look", make("span", {class: "hidden"}, ` at the letter to ${letter.endpoint}`)), " ",
			make("button", {type: "button", "data-replay": letter.id, onclick: (event) => replay(letter, event.currentTarget, again)}, "Replay",
				make("span", {class: "hidden"}, ` the letter to ${letter.endpoint}`)))}]};
}

async function look(letter) {
	try {
		say(byId("letter-text"), JSON.stringify(await ask(`dead/${letter.id}`), null, 2));
	} catch (error) {
		say(byId("letter-text"), error.message);
	}
	say(byId("letter-title"), `Dead letter ${letter.id}`);
	byId("letter").showModal();
}

async function replay(letter, button, again) {
	const said = byId("dead-said");
	button.disabled = true;
	try {
		await ask(`dead/${letter.id}/replay`, {method: "POST", who: "admin"});
		say(said, `The letter to ${letter.endpoint} is sent again.`);
		const buttons = [...byId("dead-table").querySelectorAll("[data-replay]")];
		const next = buttons[buttons.indexOf(button) + 1] ?? buttons[buttons.indexOf(button) - 1] ?? byId("dead-title");
		if (document.activeElement === button || document.activeElement === document.body)
			next.focus();
		byId("dead-table").dispatchEvent(new CustomEvent("replay", {detail: letter.id}));
		again();
	} catch (error) {
		say(said, `Not sent again: ${error.message}`);
		button.disabled = false;
	}
}
