/* Which endpoints have answered 410, as deliver.db knows it: what other processes heard, what an
 * earlier life heard, and what somebody has taken back (a replay of its dead letters). */
#ifndef DELIVER_GONE_H
#define DELIVER_GONE_H

struct deliver;

/* hosts know what deliver.db says. */
void gone_learn(struct deliver *deliver);

#endif
