/* Checks the values of a completed tree: each by its option, then against each other.
 *
 * What the options of a folder must say together stands in its checks.def, next to its options.def:
 *
 *     ITEMS(list, key, kind)            each item of the LIST `key`, in all entries of `list` (or in the section, if it is none), is of a kind:
 *                                         DATAGRAM_ADDRESSES, STREAM_ADDRESSES   to listen on; none overlaps another
 *                                         NETWORKS                               address/bits
 *                                         ORIGINS                                as browsers send them
 *                                         PEERS                                  http or https, host, perhaps a port
 *                                         QUEUES                                 number of a network interface's receive queue, or all
 *     ROOM(list, key, parts...)         in each entry of `list` the size `key` is at least the sum of the parts, each rounded up to a
 *                                       power of two
 *     ORDER(least, most, what, whose)   the duration `least` is not longer than `most`; the last two are words for people
 *     NEEDS(list, key, choice, other)   in each entry of `list` whose option `key` is `choice` the text `other` is not empty
 *     BARS(list, key, name, instead)    in each entry of `list` no item NAME=VALUE of the LIST `key` has this name: its value is a secret, which
 *                                       belongs `instead`, words for people
 *     NO_USER(list, key)                in each entry of `list` the URL `key`, perhaps in a section ("store.s3.endpoint"), has no user and password
 *     NAMED(list, key)                  in each entry of `list` the text `key` is a name (a-z 0-9 _ -), and no other entry has it
 *     ONLY(list, choice, kinds, keys)   in `list` these keys are for entries whose option `choice` is one of these kinds (words with a
 *                                       space between them; of a nested section its first name): config/kinds.h
 *     INHERITS(list, section, a, b)     what an entry of `list` does not say it has from the section that the list is in (complete.c); of
 *                                       `a` and `b`, keys of its section `section` that stand for each other, neither when it says one
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "config/tree.h"

/* Adds an error for each value that its option does not take, for each listen address that is not
 * one or overlaps another, and for each other combination that is not allowed. */
void config_check(const struct config_node *tree, struct config_errors *errors);

/* Name i that rows BARS have, and NULL after the last: what follows it is a secret. */
const char *config_check_barred(size_t i);

#endif
