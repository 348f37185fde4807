// What two ticks in a row say: figures of now, and rates, which are the gain of a counter over the time between.

const gain = (before, now, seconds) => (before === undefined || now < before ? 0 : (now - before) / seconds);
const sum = (list, value) => list.reduce((all, one) => all + value(one), 0);
const rejectedOf = (ledger) => sum(Object.values(ledger.rejected), (n) => n);

export class Model {
	/** Returns false for the first tick of an instance: it has no rates yet. */
	take(now_ms, stat) {
		const same = this.stat !== undefined && this.stat.generation === stat.generation && now_ms > this.now_ms;
		const before = same ? this.stat : null;
		this.seconds = same ? (now_ms - this.now_ms) / 1000 : 1;
		this.now_ms = now_ms;
		this.stat = stat;
		this.stages = new Map(stat.stages.map((stage) => [stage.name, this.stage(stage, find(before?.stages, "name", stage.name))]));
		this.topics = new Map(stat.topics.map((topic) => [topic.topic, this.topic(topic, before)]));
		this.queues = new Map(stat.queues.map((queue) => [queue.queue, this.queue(queue)]));
		for (const topic of this.topics.values())
			this.toStages(topic);
		this.lost = sum([...this.topics.values()], (topic) => topic.lost) + sum([...this.queues.values()], (queue) => queue.refused);
		this.losing = sum([...this.topics.values()], (topic) => topic.losing) + sum([...this.queues.values()], (queue) => queue.losing);
		this.waiting = sum([...this.topics.values()], (topic) => topic.waiting) + sum([...this.queues.values()], (queue) => queue.ready);
		this.taken_in = sum([...this.stages.values()].filter((stage) => stage.ingests), (stage) => stage.rate);
		return same;
	}

	stage(stage, before) {
		const metric = (name) => stage.metrics?.[name] ?? 0;
		const per = (name) => gain(before === undefined ? undefined : before.metrics?.[name] ?? 0, metric(name), this.seconds); // a tick leaves out what is 0
		return {
			...stage, before, metric, per, rate: 0, rejected: 0, rejecting: 0, kernel_dropped: 0, missed: 0, losing: 0,
			ingests: stage.program.startsWith("ingest-"),
			group: /\.\d+$/.test(stage.name) ? stage.program : stage.name.slice(stage.name.indexOf(".") + 1),
		};
	}

	topic(topic, before) {
		const old = find(before?.topics, "topic", topic.topic);
		const ledger = find(this.stat.ledger, "topic", topic.topic);
		const oldLedger = find(before?.ledger, "topic", topic.topic);
		const per = (name) => gain(oldLedger?.[name], ledger[name], this.seconds);
		const lanes = topic.lanes.map((lane) => this.lane(lane, find(old?.lanes, "lane", lane.lane)));
		const groups = groupsOf(lanes);
		return {
			name: topic.topic, when_full: topic.when_full, kept: topic.kept, lanes, groups, ledger,
			rate: sum(lanes, (lane) => lane.rate),
			received: per("received"), rejected: rejectedOf(ledger),
			rejecting: oldLedger === undefined ? 0 : gain(rejectedOf(oldLedger), rejectedOf(ledger), this.seconds),
			lost: ledger.dropped + ledger.refused + ledger.kernel_dropped + sum(groups, (group) => (group.required ? group.missed_records : 0)),
			dropping: per("dropped"), refusing: per("refused"), kernel: per("kernel_dropped"),
			losing: per("dropped") + per("refused") + per("kernel_dropped"),
			waiting: sum(groups, (group) => (group.required ? group.waiting_records : 0)),
			full: Math.max(0, ...groups.filter((group) => group.required).map((group) => group.full)),
			size_bytes: sum(lanes, (lane) => lane.size_bytes),
		};
	}

	lane(lane, old) {
		const groups = lane.groups.map((group) => ({
			...group,
			rate: gain(find(old?.groups, "group", group.group)?.read_records, group.read_records, this.seconds),
			full: lane.size_bytes > 0 ? group.waiting_bytes / lane.size_bytes : 0,
		}));
		const per = (name) => gain(old?.ledger[name], lane.ledger[name], this.seconds);
		return {
			...lane, groups, rate: gain(old?.written_records, lane.written_records, this.seconds), received: per("received"),
			rejecting: old === undefined ? 0 : gain(rejectedOf(old.ledger), rejectedOf(lane.ledger), this.seconds),
			losing: per("kernel_dropped"), rejected: rejectedOf(lane.ledger),
		};
	}

	queue(queue) {
		const writers = [...this.stages.values()].filter((stage) => stage.program === "ingest-http");
		return {
			...queue, name: queue.queue, full: queue.slots > 0 ? (queue.slots - queue.free) / queue.slots : 0,
			rate: sum(writers, (stage) => stage.per("postbacks")),
			refused: sum(writers, (stage) => stage.metric("postbacks_refused")),
			losing: sum(writers, (stage) => stage.per("postbacks_refused")),
		};
	}

	/** What the lanes say of those who write and read them. */
	toStages(topic) {
		for (const lane of topic.lanes) {
			const writer = this.stages.get(lane.role);
			if (writer !== undefined && writer.ingests) {
				writer.rate += lane.received;
				writer.rejected += lane.rejected;
				writer.rejecting += lane.rejecting;
				writer.kernel_dropped += lane.ledger.kernel_dropped;
				writer.losing += lane.losing;
			}
			for (const group of lane.groups) {
				const readers = [...this.stages.values()].filter((stage) => stage.group === group.group);
				const reader = readers.find((stage) => stage.pid === group.reader_pid) ?? readers[0];
				if (reader !== undefined && group.required) {
					reader.rate += group.rate;
					reader.missed += group.missed_records;
				}
			}
		}
	}
}

function find(list, key, value) {
	return list?.find((one) => one[key] === value);
}

/** Of a topic's lanes, each group once: sums, the fullest lane, the oldest event. */
function groupsOf(lanes) {
	const all = new Map();
	for (const lane of lanes)
		for (const group of lane.groups) {
			const one = all.get(group.group);
			if (one === undefined) {
				all.set(group.group, {...group});
				continue;
			}
			for (const key of ["read_records", "waiting_records", "waiting_bytes", "missed_records", "damaged", "rate"])
				one[key] += group[key];
			one.full = Math.max(one.full, group.full);
			one.oldest_age_ms = Math.max(one.oldest_age_ms ?? 0, group.oldest_age_ms ?? 0);
			one.reader_pid ||= group.reader_pid;
			one.lapsed ||= group.lapsed;
		}
	return [...all.values()];
}

/** Gain of a histogram between two documents: {count, sum, at(share)}; at: the bound that so many values do not exceed. */
export function histogramGain(before, now) {
	if (before === undefined || now === undefined || now.count < before.count || now.buckets.length !== before.buckets.length)
		return {count: 0, sum: 0, at: () => null};
	const count = now.count - before.count;
	const within = now.buckets.map((bucket, i) => bucket.count - before.buckets[i].count);
	const at = (share) => {
		const i = within.findIndex((n) => n >= share * count);
		return count === 0 || i < 0 ? null : now.buckets[i].le ?? now.buckets[i - 1].le;
	};
	return {count, sum: now.sum - before.sum, at};
}
