/* How a required group joins a stream while its writer is at work (shm/stream.h), for spin. README.md here says what stands for what.
 *
 * Memory is that of x86 (total store order): a store waits in its process's buffer, oldest first, and may be seen by others long after the
 * process has read something else; a fence waits until the buffer is empty. So a fence that is missing can be found missing.
 *
 * Bounds, given with -D: SIZE (records that a lane holds), MAX (records written to each), LANES, JOINERS, READS (batches that each reads, then it
 * leaves and joins anew), JOINS (each), STEP (leave taken beyond the need), DEATHS (of writers and joiners together), OLD (a group that was there
 * before). Faults that the checker must find: BUG_*.
 */
#ifndef SIZE
#define SIZE 2
#endif
#ifndef MAX
#define MAX 5
#endif
#ifndef LANES
#define LANES 1
#endif
#ifndef JOINERS
#define JOINERS 1
#endif
#ifndef READS
#define READS 1
#endif
#ifndef JOINS
#define JOINS 1
#endif
#ifndef STEP
#define STEP 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef OLD
#define OLD 1
#endif

#define GROUPS (JOINERS + OLD)
#define BUFFER 5

/* What all see. A lane's words, its records (number + 1; 0: never written), the groups. */
byte tail[LANES], intent[LANES], limit[LANES];
byte record[LANES * SIZE];
byte cursor[GROUPS * LANES];
bool required[GROUPS], joined[GROUPS];

/* Stores on their way: word, index, value. */
#define TAIL     0
#define INTENT   1
#define LIMIT    2
#define RECORD   3
#define CURSOR   4
#define REQUIRED 5
#define JOINED   6
chan of_writer[LANES] = [BUFFER] of { byte, byte, byte };
chan of_joiner[JOINERS] = [BUFFER] of { byte, byte, byte };

byte deaths_left = DEATHS;
byte writers_done = 0, joiners_done = 0;

#define FENCE(buffer) len(buffer) == 0
#define MAY_DIE       deaths_left > 0
#define HIGHER(a, b)  ((a) > (b) -> (a) : (b))
#define LOWER(a, b)   ((a) < (b) -> (a) : (b))
#define KEPT(end)     ((end) > SIZE -> (end) - SIZE : 0)

/* The memory system: one store of one buffer reaches the memory. */
proctype drain(chan buffer)
{
	byte word, i, value;
end:
	do
	:: atomic {
		buffer ? word, i, value ->
		if
		:: word == TAIL -> tail[i] = value
		:: word == INTENT -> intent[i] = value
		:: word == LIMIT -> limit[i] = value
		:: word == RECORD -> record[i] = value
		:: word == CURSOR -> cursor[i] = value
		:: word == REQUIRED -> required[i] = value
		:: word == JOINED -> joined[i] = value
		fi;
		word = 0;
		i = 0;
		value = 0
	   }
	od
}

/* ask_groups: state and cursor of one group after the other */
inline ask()
{
	atomic { permitted = own_tail; g = 0 };
	do
	:: g < GROUPS && !required[g] -> g++
	:: g < GROUPS && required[g] ->
		atomic {
			permitted = LOWER(permitted, cursor[g * LANES + lane]);
			g++
		}
	:: g == GROUPS -> break
	od;
	atomic { permitted = permitted + SIZE; g = 0 }
}

proctype writer(byte lane; chan buffer)
{
	byte own_tail, own_intent, own_limit, permitted, wanted, g;
life: /* stream_writer_attach, after the role's lock: what the last life stored has arrived */
	atomic {
		FENCE(buffer) ->
		own_tail = tail[lane];
		own_intent = intent[lane];
		own_limit = 0;
#ifdef BUG_NEXT_LIFE_TAKES_LIMIT
		own_limit = limit[lane];
#endif
		permitted = 0;
		wanted = 0;
		g = 0
	}
reserve:
	if
	:: own_tail == MAX -> goto done
	:: atomic { own_tail < MAX && MAY_DIE -> deaths_left--; goto life }
	:: own_tail < MAX && own_tail + 1 > own_limit -> goto take_more
	:: own_tail < MAX && own_tail + 1 <= own_limit -> goto fill
	fi;
take_more:
	ask();
	if
	:: own_tail + 1 > permitted -> goto reserve /* full: dropped or refused, and tried again */
	:: else
	fi;
	wanted = LOWER(own_tail + 1 + STEP, permitted);
#ifndef BUG_NOT_PUBLISHED
	buffer ! LIMIT, lane, wanted;
#endif
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: true
	fi;
#ifndef BUG_NO_WRITER_FENCE
	FENCE(buffer);
#endif
#ifndef BUG_NO_SECOND_LOOK
	ask();
#endif
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: atomic {
		own_limit = LOWER(wanted, permitted);
		permitted = 0;
		wanted = 0
	   }
	fi;
#ifndef BUG_NOT_PUBLISHED
	buffer ! LIMIT, lane, own_limit;
#endif
	if
	:: own_tail + 1 > own_limit -> goto reserve
	:: else
	fi;
fill:
	if
	:: own_tail + 1 > own_intent ->
		own_intent = LOWER(own_tail + 2, own_limit);
		buffer ! INTENT, lane, own_intent
	:: else
	fi;
	buffer ! RECORD, lane * SIZE + own_tail % SIZE, own_tail + 1;
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: own_tail++
	fi;
	buffer ! TAIL, lane, own_tail;
	goto reserve;
done:
	atomic {
		own_tail = 0;
		own_intent = 0;
		own_limit = 0;
		writers_done++
	}
}

/* stream_oldest_kept: limit before intent */
inline find_kept()
{
	kept = limit[lane];
	atomic {
#ifndef BUG_INTENT_NOT_COUNTED
		kept = HIGHER(kept, intent[lane]);
#endif
		kept = KEPT(kept)
	}
}

/* A batch: all from position to the tail. It must be there, and stay while it is held. */
inline hold_batch()
{
	atomic { last = tail[lane]; assert(last >= position && last - position <= SIZE); look = position };
	do
	:: look < last -> atomic { assert(record[lane * SIZE + look % SIZE] == look + 1); look++ }
	:: look == last -> break
	od
}

/* Required from the start. Nothing of it is ever in doubt, so its stores are seen at once. */
proctype old_reader(byte lane)
{
	byte position, last, look;
	do
	:: tail[lane] > position ->
		hold_batch();
		atomic {
			position = last;
			cursor[JOINERS * LANES + lane] = position;
			look = 0;
			last = 0
		}
	:: position == MAX -> break
	od
}

proctype joiner(byte group; chan buffer)
{
	byte lane, position, kept, last, look, reads, joins;
	byte own[LANES]; /* what it has stored in its cursors */
begin: /* stream_reader_begin: from the oldest, the tail, or any waypoint between */
	lane = 0;
	do
	:: lane < LANES ->
		find_kept();
		atomic {
			position = kept;
			do
			:: position < tail[lane] -> position++
			:: break
			od;
			own[lane] = position;
			kept = 0
		}
		buffer ! CURSOR, group * LANES + lane, position;
		position = 0;
		lane++
	:: lane == LANES -> break
	od;
	if
	:: atomic { MAY_DIE -> deaths_left--; goto again }
	:: buffer ! REQUIRED, group, true
	fi;
join: /* stream_reader_join, of whoever began it or of the next reader */
	if
	:: atomic { MAY_DIE -> deaths_left--; goto again }
	:: true
	fi;
#ifndef BUG_NO_JOINER_FENCE
	FENCE(buffer);
#endif
	lane = 0;
	do
	:: lane < LANES ->
		find_kept();
#ifndef BUG_NOT_MOVED_UP
		if
		:: own[lane] < kept ->
			assert(kept <= tail[lane]);
			own[lane] = kept;
			buffer ! CURSOR, group * LANES + lane, kept
		:: else
		fi;
#endif
		kept = 0;
		if
		:: atomic { MAY_DIE -> deaths_left--; goto again }
		:: true
		fi;
		lane++
	:: lane == LANES -> break
	od;
	buffer ! JOINED, group, true;
read:
	do
	:: reads < READS ->
		lane = 0;
		do
		:: lane < LANES ->
			position = own[lane];
			hold_batch();
			hold_batch(); /* again: unchanged */
			if
			:: atomic { MAY_DIE -> deaths_left--; goto again }
			:: own[lane] = last
			fi;
			buffer ! CURSOR, group * LANES + lane, own[lane];
			atomic { position = 0; last = 0; look = 0 };
			lane++
		:: lane == LANES -> break
		od;
		reads++
	:: reads == READS -> break
	od;
	/* forgotten */
	buffer ! REQUIRED, group, false;
	buffer ! JOINED, group, false;
	FENCE(buffer);
	atomic {
		reads = 0;
		joins++;
		if
		:: joins < JOINS -> goto begin
		:: else -> goto done
		fi
	}
again: /* killed; the next reader claims the group when all that was stored has arrived */
	atomic {
		FENCE(buffer) ->
		lane = 0;
		position = 0;
		kept = 0;
		last = 0;
		look = 0;
		if
		:: !required[group] -> joined[group] = false; goto begin
		:: else
		fi
	}
	do /* take_up_cursor */
	:: lane < LANES ->
		own[lane] = cursor[group * LANES + lane];
#ifdef BUG_NOT_FINISHED
		joined[group] = true;
#endif
#ifdef BUG_TAKEN_UP_BY_LIMIT
		find_kept();
#else
		kept = KEPT(intent[lane]);
#endif
		assert(!joined[group] || own[lane] >= kept); /* a group that has joined is never overrun */
		kept = 0;
		lane++
	:: lane == LANES -> break
	od;
	if
	:: joined[group] -> goto read
	:: else -> goto join
	fi;
done:
	atomic { lane = 0; joiners_done++ }
}

init {
	byte i;
	atomic {
		do
		:: i < LANES ->
			run drain(of_writer[i]);
			run writer(i, of_writer[i]);
			if
			:: OLD -> required[JOINERS] = true; run old_reader(i)
			:: else
			fi;
			i++
		:: i == LANES -> break
		od;
		i = 0;
		do
		:: i < JOINERS -> run drain(of_joiner[i]); run joiner(i, of_joiner[i]); i++
		:: i == JOINERS -> break
		od
	}
	/* nobody is in anybody's way for ever */
	writers_done == LANES && joiners_done == JOINERS
}
