/* The queue of shm/queue.c, for spin. README.md here says what stands for what and why the steps are as large as they are.
 *
 * Bounds, given with -D: SLOTS, PRODUCERS, ITEMS (each), TAKERS, DEATHS, RETURNS (give-backs by choice), PATIENCE,
 * LATE (1: nothing is repaired before all that live have ended), LAPS (when everything is claimed, producers stop there).
 * Faults that the checker must find: BUG_*.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef ITEMS
#define ITEMS 1
#endif
#ifndef TAKERS
#define TAKERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef RETURNS
#define RETURNS 0
#endif
#ifndef PATIENCE
#define PATIENCE 1
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef LAPS
#define LAPS 4
#endif

#define FREE    0
#define FILLING 1
#define READY   2
#define TAKEN   3

#define ROLES 8
#define WORD(lap, passed, role, phase) ((((lap) * 2 + (passed)) * ROLES + (role)) * 4 + (phase))
#define PHASE(w)  ((w) % 4)
#define ROLE(w)   (((w) / 4) % ROLES)
#define PASSED(w) (((w) / (4 * ROLES)) % 2)
#define LAP(w)    ((w) / (8 * ROLES))
#define OWNED(w)  (PHASE(w) == FILLING || PHASE(w) == TAKEN)
/* the lap in which the slot was last used, plus 1 */
#define USED1(w)  (LAP(w) + (PHASE(w) != FREE -> 1 : 0))

/* What is shared. */
short word[SLOTS];
byte item[SLOTS];   /* the payload: number of the message, 0 while it is being written */
byte returned;      /* count of announcements ... */
byte returned_slot; /* ... and the slot of the last */
bool rung[ROLES];   /* the doorbell, as seen by each taker: rung since it last began to look */

/* What only the assertions see. */
bool published[PRODUCERS * ITEMS + 1];
bool held[PRODUCERS * ITEMS + 1];
byte done[PRODUCERS * ITEMS + 1];
byte owed[ROLES]; /* slot + 1 that this role has made ready and not yet announced */
bool slept; /* every sleep has a bound: it has passed once since all fell asleep */
byte deaths = DEATHS;
byte returns_left = RETURNS;
bool repair_may_break = true; /* the repairer may be killed once and begin anew */
byte dead_role;
bool orphan; /* somebody is dead and not repaired */
byte producers_alive = PRODUCERS;

/* First in each step: the process may be killed before it. (Death between two steps is death before the second.) */
#define GAP                                                                                                            \
	if                                                                                                             \
	:: mortal && deaths > 0 -> deaths--; dead_role = role; orphan = true; goto killed                              \
	:: true                                                                                                        \
	fi

#ifdef BUG_DEBT_NOT_PAID
#define same_full(w, lap) (PHASE(w) == READY && LAP(w) < lap)
#else
#define same_full(w, lap) (PHASE(w) == READY && LAP(w) < lap && !PASSED(w))
#endif
#define some_free (PHASE(word[0]) == FREE || PHASE(word[1]) == FREE || PHASE(word[SLOTS - 1]) == FREE)

/* announce() in queue.c, and the bell that commit, give_back and repair ring. */
#ifdef BUG_NOT_ANNOUNCED
#define ANNOUNCE(slot) skip
#else
#define ANNOUNCE(slot) returned = (returned + 1) % 64; returned_slot = slot
#endif
#define RING rung[PRODUCERS + 1] = true; rung[PRODUCERS + 2] = true

/* A successful compare-and-swap of queue_take. Whoever takes, takes it alone, whole, and before it was done. */
#define CLAIM(slot)                                                                                                    \
	word[slot] = WORD(LAP(word[slot]), 0, role, TAKEN);                                                             \
	id = item[slot];                                                                                               \
	assert(id != 0 && published[id] && !held[id] && done[id] == 0);                                                 \
	held[id] = true

proctype producer(byte role)
{
	byte n = 0, position = 0, i = 0;
	bool passed = false;
	bool mortal = (role == 1); /* producers are alike: it is enough that the first may die */
	short w;

reserve: /* queue_reserve: one look and one compare-and-swap a step */
	atomic {
		GAP;
		i = position % SLOTS;
		w = word[i];
		if
		:: LAP(w) == position / SLOTS && PHASE(w) == FREE ->
			word[i] = WORD(LAP(w), 0, role, FILLING);
			item[i] = 0;
			position++;
			w = 0;
			goto claimed
		:: LAP(w) < position / SLOTS && PHASE(w) == FREE -> assert(false) /* a place was left out */
		:: LAP(w) > position / SLOTS || (LAP(w) == position / SLOTS && PHASE(w) != FREE) ->
			position = (USED1(w) - 1) * SLOTS + i + 1
		:: LAP(w) < position / SLOTS && PHASE(w) == READY ->
			w = 0;
			goto is_full
		:: LAP(w) < position / SLOTS && OWNED(w) -> /* go round */
#ifndef BUG_NOT_RAISED
			word[i] = WORD(position / SLOTS, 0, ROLE(w), PHASE(w));
#endif
			position++
		fi;
		w = 0;
		i = 0
	}
	if /* all claimed: the code returns false after so many steps; here we wait when the laps run out */
	:: some_free || position / SLOTS < LAPS -> goto reserve
	fi;
is_full:
#ifndef BUG_DEBT_NOT_PAID
	if
	:: PASSED(word[position % SLOTS]) -> /* somebody may have died before he announced it */
		atomic { GAP; i = position % SLOTS; ANNOUNCE(i) }
		atomic {
			GAP;
			if
			:: word[i] == WORD(position / SLOTS - 1, 1, 0, READY) -> word[i] = WORD(position / SLOTS - 1, 0, 0, READY)
			:: else
			fi;
			i = 0
		}
	:: else
	fi;
#endif
	/* nothing can change for this producer until that word does */
	!same_full(word[position % SLOTS], position / SLOTS) -> goto reserve;
claimed:
	atomic { GAP; item[i] = (role - 1) * ITEMS + n + 1 }
	atomic { /* queue_commit */
		GAP;
#ifdef BUG_COMMIT_OWN_LAP
		word[i] = WORD((position - 1) / SLOTS, 0, 0, READY);
#else
		assert(PHASE(word[i]) == FILLING && ROLE(word[i]) == role);
		passed = PASSED(word[i]);
		word[i] = WORD(LAP(word[i]), passed, 0, READY);
#endif
		n++;
		published[(role - 1) * ITEMS + n] = true;
		if
		:: !passed -> goto ring
		:: else -> owed[role] = i + 1
		fi
	}
	atomic {
		GAP;
		ANNOUNCE(i);
		owed[role] = 0;
		passed = false
	}
ring:
	atomic {
		GAP;
		RING;
		i = 0;
		if
		:: n < ITEMS -> goto reserve
		:: else -> goto ended
		fi
	}
killed:
ended:
	atomic {
		n = 0;
		position = 0;
		i = 0;
		passed = false;
		producers_alive--
	}
}

proctype taker(byte role; bool mortal)
{
	byte position = 0, look = 0, i = 0, id = 0, seen;
	bool gap = false;
	short w;

	seen = returned;
take: /* queue_take: announcements first */
	atomic {
		GAP;
		rung[role] = false;
#ifndef BUG_SEEN_LATE
		if
		:: returned == seen
		:: returned == (seen + 1) % 64 ->
			i = returned_slot;
			seen = returned;
			goto announced
		:: else ->
			seen = returned;
			position = (position > SLOTS -> position - SLOTS : 0)
		fi;
#endif
		look = position
	}
further:
	atomic {
		i = look % SLOTS;
		w = word[i];
		if
		:: LAP(w) == look / SLOTS && PHASE(w) == READY ->
			w = 0;
			i = 0;
			goto found
		:: LAP(w) == look / SLOTS && PHASE(w) == FILLING && !PASSED(w) ->
			gap = true;
			look++
		:: LAP(w) > look / SLOTS || (LAP(w) == look / SLOTS && (PHASE(w) == TAKEN || (PHASE(w) == FILLING && PASSED(w)))) ->
			if /* all ready places are less than a lap before the last used one */
			:: USED1(w) > look / SLOTS + 2 -> look = (USED1(w) - 2) * SLOTS + i + 1
			:: else -> look++
			fi;
			if
			:: !gap -> position = look
			:: else
			fi
		:: LAP(w) < look / SLOTS || (LAP(w) == look / SLOTS && PHASE(w) == FREE) -> /* the end */
			w = 0;
			look = 0;
			gap = false;
			i = 0;
#ifdef BUG_SEEN_LATE
			goto seen_late;
#else
			goto end_sleep;
#endif
		fi;
		w = 0;
		i = 0
	}
	goto further;
found: /* pass those that are slow: from position on, as far as patience allows */
	if
	:: look >= position + PATIENCE ->
		atomic {
			GAP;
			w = word[position % SLOTS];
			if
			:: LAP(w) == position / SLOTS && PHASE(w) == FILLING && !PASSED(w) ->
#ifndef BUG_PASSED_NOT_MARKED
				word[position % SLOTS] = WORD(LAP(w), 1, ROLE(w), FILLING);
#endif
				position++
			:: LAP(w) == position / SLOTS && PHASE(w) == READY -> /* it has come after all */
				look = position;
				gap = false
			:: else -> position++
			fi;
			w = 0
		}
		goto found
	:: else
	fi;
	atomic {
		GAP;
		i = look % SLOTS;
		if
		:: LAP(word[i]) == look / SLOTS && PHASE(word[i]) == READY ->
			CLAIM(i);
			if
			:: position == look -> position++
			:: else
			fi;
			look = 0;
			gap = false;
			goto work
		:: else ->
			i = 0;
			goto further
		fi
	}
announced: /* one announcement more: that slot alone */
	atomic {
		GAP;
		if
		:: PHASE(word[i]) == READY ->
			CLAIM(i);
			goto work
		:: else ->
			i = 0;
			look = position;
			goto further
		fi
	}
work:
	if
	:: atomic { /* queue_done */
		GAP;
		assert(PHASE(word[i]) == TAKEN && ROLE(word[i]) == role && item[i] == id);
		word[i] = WORD(LAP(word[i]) + 1, 0, 0, FREE);
		held[id] = false;
		done[id]++;
		id = 0;
		i = 0;
		goto take
	   }
	:: atomic { /* queue_give_back */
		returns_left > 0 ->
		GAP;
		returns_left--;
		assert(PHASE(word[i]) == TAKEN && ROLE(word[i]) == role && item[i] == id);
		word[i] = WORD(LAP(word[i]), 1, 0, READY);
		held[id] = false;
		owed[role] = i + 1
	   }
	fi;
	atomic { GAP; ANNOUNCE(i); owed[role] = 0 }
	atomic {
		GAP;
		RING;
		id = 0;
		i = 0;
		goto take
	}
#ifdef BUG_SEEN_LATE
seen_late:
	atomic {
		if
		:: returned != seen -> seen = returned; position = (position > SLOTS -> position - SLOTS : 0)
		:: else
		fi
	}
#endif
end_sleep:
	rung[role] -> goto take;
killed:
	atomic {
		position = 0;
		look = 0;
		i = 0;
		id = 0;
		gap = false;
		seen = 0
	}
}

#define no_taker (TAKERS == 1 && dead_role > PRODUCERS)

/* queue_repair, by a process that may be killed too and then begins anew. */
inline repair()
{
	skip;
again:
	slot = 0;
	do
	:: slot < SLOTS ->
		atomic {
			if
			:: PHASE(word[slot]) == FILLING && ROLE(word[slot]) == dead_role ->
				word[slot] = WORD(LAP(word[slot]) + 1, 0, 0, FREE)
			:: PHASE(word[slot]) == TAKEN && ROLE(word[slot]) == dead_role ->
				held[item[slot]] = false;
				word[slot] = WORD(LAP(word[slot]), 1, 0, READY)
			:: else
			fi;
			slot++;
			if
			:: repair_may_break -> repair_may_break = false; goto again
			:: true
			fi
		}
	:: else -> break
	od;
	atomic { /* two at once: look at everything */
#ifndef BUG_REPAIR_NOT_ANNOUNCED
		returned = (returned + 2) % 64;
		returned_slot = 0;
#endif
		RING;
		owed[dead_role] = 0;
		repair_may_break = false;
		orphan = false
	}
}

init {
	byte slot;

	atomic {
		slot = 0;
		do
		:: slot < PRODUCERS -> slot++; run producer(slot)
		:: else -> break
		od;
		slot = 0;
		do
		:: slot < TAKERS -> slot++; run taker(PRODUCERS + slot, slot == 1)
		:: else -> break
		od;
		slot = 0
	}
work_on:
	if
	:: orphan && !LATE -> goto mend
	:: timeout -> /* all that live are asleep or have ended */
		if
		:: !orphan -> goto verdict
		:: orphan && slept -> goto left_alone
		:: orphan && !slept ->
			atomic { slept = true; RING }
			goto work_on
		fi
	fi;
left_alone: /* although nothing was repaired: they have done all they had to, and nobody waits for the dead */
	atomic {
		do
		:: slot < SLOTS ->
			assert(no_taker || PHASE(word[slot]) != READY || owed[dead_role] == slot + 1);
			assert(!OWNED(word[slot]) || ROLE(word[slot]) == dead_role);
			slot++
		:: else -> break
		od;
		slot = 0;
		assert(no_taker || producers_alive == 0)
	}
mend:
	repair();
	if /* the next life of the only taker; when others live, they must be able to do without */
	:: no_taker -> run taker(PRODUCERS + 1, false)
	:: else
	fi;
	goto work_on;
verdict:
	atomic {
		assert(producers_alive == 0);
		slot = 0;
		do
		:: slot < SLOTS -> assert(PHASE(word[slot]) == FREE); slot++
		:: else -> break
		od;
		slot = 1;
		do
		:: slot <= PRODUCERS * ITEMS -> assert(done[slot] == (published[slot] -> 1 : 0)); slot++
		:: else -> break
		od
	}
}
