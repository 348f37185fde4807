/* An errand (stage/errand.h), for spin. README.md here says what stands for what.
 *
 * Memory is that of x86 (total store order), as in join.pml. Time is not modelled: an asker may give up at any moment, and a stage that
 * looks at the clock may find the errand's time over or not.
 *
 * Bounds, given with -D: ASKERS, ERRANDS (that all of them ask), DEATHS (of askers and stage together). Faults that the checker must find:
 * BUG_*.
 */
#ifndef ASKERS
#define ASKERS 2
#endif
#ifndef ERRANDS
#define ERRANDS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

/* States of the words; a word is id * 8 + state. */
#define NONE      0
#define ASKED     1
#define DECIDING  2
#define REVOKED   3
#define CONFIRMED 4
#define TAKEN     5
#define DONE      6
#define WORD(id, state) ((id) * 8 + (state))
#define ID(word)        ((word) / 8)
#define STATE(word)     ((word) % 8)

/* What all see: the asker's word, the stage's, the lock, the stage's store. */
byte asked, stages;
bool held;
byte stored;

/* For the assertions: what came of each errand, and what its asker was told. */
#define TOLD_NEVER 1
#define TOLD_WILL  2
byte done[ERRANDS + 1], told[ERRANDS + 1];

/* Stores on their way. */
chan of_asker[ASKERS] = [3] of { byte };
chan of_stage = [3] of { byte };

byte deaths_left = DEATHS, errands = 0, askers_done = 0;
bool stage_done = false;

#define FENCE(buffer) len(buffer) == 0
#define MAY_DIE       deaths_left > 0

proctype drain_asker(chan buffer)
{
end:
	do
	:: buffer ? asked
	od
}

proctype drain_stage(chan buffer)
{
end:
	do
	:: buffer ? stages
	od
}

proctype asker(chan buffer)
{
	byte id, before, seen;
begin: /* errand_begin, ask: a lock that was held is free when all that its holder stored has arrived */
	if
	:: atomic { errands < ERRANDS && !held && FENCE(buffer) -> held = true }
	:: errands == ERRANDS -> goto leave
	fi;
ask:
	before = asked;
	seen = stages;
	if
	:: atomic { MAY_DIE -> deaths_left--; goto killed }
#ifndef BUG_CONFIRMED_OVERWRITTEN
	:: STATE(before) == CONFIRMED && seen == WORD(ID(before), TAKEN) ->
		atomic { before = 0; seen = 0 };
		if
		:: goto ask
		:: goto give_up /* it was in the way all the time */
		fi
	:: !(STATE(before) == CONFIRMED && seen == WORD(ID(before), TAKEN))
#else
	:: true
#endif
	fi;
	atomic {
		before = 0;
		seen = 0;
		if
		:: errands == ERRANDS -> goto give_up
		:: else -> errands++; id = errands
		fi
	};
	buffer ! WORD(id, ASKED);
look:
	seen = stages;
	if
	:: atomic { MAY_DIE -> deaths_left--; goto killed }
	:: seen == WORD(id, DONE) -> told[id] = TOLD_WILL; goto decide /* errand_end */
	:: seen != WORD(id, DONE) -> goto look
	:: seen != WORD(id, DONE) -> goto decide
	fi;
decide:
#ifndef BUG_DECIDES_AT_ONCE
	buffer ! WORD(id, DECIDING);
#endif
#ifndef BUG_NO_ASKERS_FENCE
	FENCE(buffer);
#endif
	if
	:: atomic { MAY_DIE -> deaths_left--; goto killed }
	:: true
	fi;
	seen = stages;
	if
	:: seen == WORD(id, TAKEN) || seen == WORD(id, DONE) -> buffer ! WORD(id, CONFIRMED); told[id] = TOLD_WILL
	:: else -> assert(told[id] == 0); buffer ! WORD(id, REVOKED); told[id] = TOLD_NEVER
	fi;
killed: /* or it ends: the lock goes either way */
	atomic { FENCE(buffer) -> held = false; id = 0; seen = 0; before = 0 };
	goto begin;
give_up:
	atomic { FENCE(buffer) -> held = false };
leave:
	askers_done++
}

proctype stage(chan buffer)
{
	byte own, word;
	bool last;
life: /* after the role's lock */
	atomic { FENCE(buffer) -> own = stages; word = 0; last = false };
#ifndef BUG_STORE_NOT_LOOKED_AT
	if
	:: STATE(own) == TAKEN && stored == ID(own) -> goto publish
	:: else
	fi;
#endif
look:
	last = askers_done == ASKERS;
	word = asked;
	if
	:: STATE(own) == TAKEN
	:: STATE(own) != TAKEN && STATE(word) == ASKED && ID(word) != ID(own) ->
		own = WORD(ID(word), TAKEN);
		buffer ! own
	:: else -> goto nothing
	fi;
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: true
	fi;
#ifndef BUG_NO_STAGES_FENCE
	FENCE(buffer);
#endif
#ifndef BUG_NO_SECOND_LOOK
	word = asked;
#endif
	if
	:: ID(word) == ID(own) && (STATE(word) == CONFIRMED || STATE(word) == ASKED) -> goto carry_out
	:: ID(word) == ID(own) && STATE(word) == ASKED -> goto nothing /* its time is over */
#ifdef BUG_DECIDING_IS_YES
	:: ID(word) == ID(own) && STATE(word) == DECIDING -> goto carry_out
#else
	:: ID(word) == ID(own) && STATE(word) == DECIDING -> goto nothing
#endif
	:: else -> own = WORD(ID(own), NONE); buffer ! own; goto nothing
	fi;
carry_out:
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: atomic { done[ID(own)]++; stored = ID(own); assert(done[ID(own)] == 1 && told[ID(own)] != TOLD_NEVER) }
	fi;
publish:
	if
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	:: own = WORD(ID(own), DONE)
	fi;
	buffer ! own;
	goto look;
nothing:
	atomic { word = 0 };
	if
	:: last && ID(asked) == ID(own) && STATE(own) == TAKEN && STATE(asked) == CONFIRMED -> goto look
	:: last && !(ID(asked) == ID(own) && STATE(own) == TAKEN && STATE(asked) == CONFIRMED) -> goto finished
	:: !last -> goto look
	:: atomic { MAY_DIE -> deaths_left--; goto life }
	fi;
finished:
	FENCE(buffer);
	stage_done = true
}

init {
	byte i;
	atomic {
		do
		:: i < ASKERS -> run drain_asker(of_asker[i]); run asker(of_asker[i]); i++
		:: i == ASKERS -> break
		od;
		run drain_stage(of_stage);
		run stage(of_stage);
		i = 1
	};
	askers_done == ASKERS && stage_done;
	do
	:: i <= ERRANDS ->
		assert(told[i] != TOLD_WILL || done[i] == 1);
		assert(told[i] != TOLD_NEVER || done[i] == 0);
		i++
	:: i > ERRANDS -> break
	od
}
