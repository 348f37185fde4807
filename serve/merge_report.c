/* Reports of one application: addresses united. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "base/text.h"
#include "serve/merge.h"

#define HOST_BITS 4u /* of a /28 */

struct addresses {
	uint32_t *ip;
	size_t n, room;
};

/* Returns 1; 0: it is no list of addresses; -1 no memory. */
static int add_list(struct addresses *all, const json_t *list)
{
	size_t n = json_array_size(list), i;
	const json_t *item;
	struct in_addr address;
	if (!json_is_array(list))
		return 0;
	uint32_t *ip = merge_room(all->ip, &all->room, all->n, n, sizeof *ip);
	if (ip == NULL)
		return -1;
	all->ip = ip;
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);
		if (text == NULL || inet_pton(AF_INET, text, &address) != 1)
			return 0;
		ip[all->n + i] = ntohl(address.s_addr);
	}
	all->n += n;
	return 1;
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void unite(struct addresses *all)
{
	size_t n = 0;
	if (all->n > 0)
		qsort(all->ip, all->n, sizeof *all->ip, ascending);
	for (size_t i = 0; i < all->n; i++)
		if (n == 0 || all->ip[n - 1] != all->ip[i])
			all->ip[n++] = all->ip[i];
	all->n = n;
}

static bool append(json_t *list, uint32_t ip)
{
	char room[16];
	struct text text = {.at = room, .end = room + sizeof room};
	text_ipv4(&text, ip);
	return json_array_append_new(list, json_stringn_nocheck(room, (size_t)(text.at - room))) == 0;
}

/* A network in which two or more addresses were seen is good. */
static bool judge(const struct addresses *all, json_t *good, json_t *bad)
{
	for (size_t first = 0, end; first < all->n; first = end) {
		for (end = first + 1;
		     end < all->n && all->ip[end] >> HOST_BITS == all->ip[first] >> HOST_BITS;)
			end++;
		for (size_t i = first; i < end; i++)
			if (!append(end - first >= 2 ? good : bad, all->ip[i]))
				return false;
	}
	return true;
}

static json_t *make(const struct addresses *all, int64_t count, bool truncated)
{
	json_t *good = json_array(), *bad = json_array(), *report = NULL;
	if (judge(all, good, bad))
		report = json_pack("{s:I, s:O, s:O}", "count", (json_int_t)count, "good_ips", good, "bad_ips",
		                   bad);
	if (report != NULL && truncated && json_object_set_new(report, "truncated", json_true()) != 0) {
		json_decref(report);
		report = NULL;
	}
	json_decref(good);
	json_decref(bad);
	return report;
}

json_t *merge_report(struct merge_part *part, size_t n)
{
	struct addresses all = {NULL, 0, 0};
	int64_t sum = 0, count;
	bool truncated = false, any = false;
	json_t *report = NULL;
	int added = 1;
	for (size_t i = 0; added >= 0 && i < n; i++) {
		const json_t *json = part[i].json;
		size_t before = all.n;
		if (json == NULL)
			continue;
		added = add_list(&all, json_object_get(json, "good_ips"));
		if (added > 0)
			added = add_list(&all, json_object_get(json, "bad_ips"));
		if (added > 0)
			added = merge_number(json, "count", &count);
		if (added <= 0) {
			part[i].wrong = added == 0;
			all.n = before;
			continue;
		}
		any = true;
		sum += count;
		truncated |= json_is_true(json_object_get(json, "truncated"));
	}
	if (added >= 0 && any) {
		unite(&all);
		report = make(&all, sum, truncated);
	}
	free(all.ip);
	return report;
}
