/* The flow of a plan as a picture: text, or a graph for Graphviz. */
#include "supervisor/plan.h"

#include <stdarg.h>
#include <string.h>

/* The processes of one section, drawn as one. */
struct node {
	const struct plan_role *role; /* the first of them */
	unsigned n;
};

struct drawing {
	const struct plan *plan;
	FILE *out;
	struct node node[INSTANCE_ROLES_MAX];
	unsigned n_nodes;
	/* Text: what stands there already is named the next time, and not followed again. */
	bool node_drawn[INSTANCE_ROLES_MAX], topic_drawn[INSTANCE_TOPICS_MAX],
	        queue_drawn[INSTANCE_QUEUES_MAX];
	size_t column;
};

static void drawing_init(struct drawing *drawing, const struct plan *plan, FILE *out)
{
	*drawing = (struct drawing){.plan = plan, .out = out};
	for (unsigned i = 0; i < plan->n_roles; i++) {
		const struct plan_role *role = &plan->role[i];
		unsigned k = 0;
		while (k < drawing->n_nodes && strcmp(drawing->node[k].role->section, role->section) != 0)
			k++;
		if (k == drawing->n_nodes)
			drawing->node[drawing->n_nodes++].role = role;
		drawing->node[k].n++;
	}
}

/* A process for each entry goes by its role's name, as its group does. */
static const char *node_name(const struct node *node)
{
	const struct plan_role *role = node->role;
	return role->stage->processes == FLOW_ENTRIES ? role->page.name : role->stage->name;
}

static bool listed(const char *const *list, const char *name)
{
	for (FLOW_EACH(one, list))
		if (strcmp(*one, name) == 0)
			return true;
	return false;
}

static bool has_outside_lane(const struct instance_topic *topic)
{
	for (unsigned lane = 0; lane < topic->n_lanes; lane++)
		if (topic->lane_role[lane][0] == '\0')
			return true;
	return false;
}

/* ---- text ---- */

static void put(struct drawing *drawing, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct drawing *drawing, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int n = vfprintf(drawing->out, format, arguments);
	va_end(arguments);
	drawing->column += n > 0 ? (size_t)n : 0;
}

/* Each branch but the first, which goes on where the line is, gets a line of its own below it. */
static void begin_branch(struct drawing *drawing, bool *first, size_t column)
{
	if (!*first) {
		fprintf(drawing->out, "\n%*s", (int)column, "");
		drawing->column = column;
	}
	*first = false;
}

static void draw_node(struct drawing *drawing, unsigned index);

static void draw_topic(struct drawing *drawing, unsigned index)
{
	const struct plan_topic *topic = &drawing->plan->topic[index];
	char group[SHM_NAME_MAX];
	bool first = true;
	put(drawing, "%s", topic->page.name);
	if (drawing->topic_drawn[index]) {
		put(drawing, " (see above)");
		return;
	}
	drawing->topic_drawn[index] = true;
	put(drawing, ", %u %s", topic->page.n_lanes, topic->page.n_lanes == 1 ? "lane" : "lanes");
	if (topic->n_required == 0)
		put(drawing, " (nobody keeps it)");
	size_t column = drawing->column;
	for (unsigned i = 0; i < drawing->n_nodes; i++) {
		const struct plan_role *role = drawing->node[i].role;
		if (!plan_reads(topic, role->page.name))
			continue;
		begin_branch(drawing, &first, column);
		put(drawing, " --group %s--> ", flow_group(role->stage, role->page.name, group));
		draw_node(drawing, i);
	}
}

static void draw_queue(struct drawing *drawing, unsigned index)
{
	const struct instance_queue *queue = &drawing->plan->queue[index].page;
	bool first = true;
	put(drawing, "%s", queue->name);
	if (drawing->queue_drawn[index]) {
		put(drawing, " (see above)");
		return;
	}
	drawing->queue_drawn[index] = true;
	put(drawing, ", queue of %llu slots", (unsigned long long)queue->slots);
	size_t column = drawing->column;
	for (unsigned i = 0; i < drawing->n_nodes; i++) {
		if (!listed(drawing->node[i].role->stage->takes, queue->name))
			continue;
		begin_branch(drawing, &first, column);
		put(drawing, " ==> ");
		draw_node(drawing, i);
	}
	if (first)
		put(drawing, " (nothing takes from it)");
}

/* What the node writes and puts, each on a line of its own, and what becomes of it. */
static void draw_node(struct drawing *drawing, unsigned index)
{
	const struct plan *plan = drawing->plan;
	const struct node *node = &drawing->node[index];
	bool first = true;
	put(drawing, "%s x %u", node_name(node), node->n);
	if (drawing->node_drawn[index]) {
		put(drawing, " (see above)");
		return;
	}
	drawing->node_drawn[index] = true;
	size_t column = drawing->column;
	for (unsigned i = 0; i < plan->n_topics; i++) {
		if (!plan_writes(&plan->topic[i], node->role->page.name))
			continue;
		begin_branch(drawing, &first, column);
		put(drawing, " --> ");
		draw_topic(drawing, i);
	}
	for (unsigned i = 0; i < plan->n_queues; i++) {
		if (!listed(node->role->stage->puts, plan->queue[i].page.name))
			continue;
		begin_branch(drawing, &first, column);
		put(drawing, " ==> ");
		draw_queue(drawing, i);
	}
}

static void end_line(struct drawing *drawing)
{
	fputc('\n', drawing->out);
	drawing->column = 0;
}

static void draw_listener(struct drawing *drawing, const struct plan_listener *listener)
{
	put(drawing, "%s", listener->protocol);
	for (unsigned i = 0; i < listener->n_addresses; i++)
		put(drawing, "%s %s", i == 0 ? "" : ",",
		    drawing->plan->address[listener->first_address + i].text);
	put(drawing, "%s%s --> ", listener->format[0] == '\0' ? "" : " ", listener->format);
}

void plan_print_flow(const struct plan *plan, FILE *out)
{
	struct drawing drawing;
	drawing_init(&drawing, plan, out);
	for (unsigned i = 0; i < drawing.n_nodes; i++) {
		if (drawing.node[i].role->listener < 0)
			continue;
		draw_listener(&drawing, &plan->listener[drawing.node[i].role->listener]);
		draw_node(&drawing, i);
		end_line(&drawing);
	}
	for (unsigned i = 0; i < plan->n_topics; i++) {
		if (!has_outside_lane(&plan->topic[i].page))
			continue;
		put(&drawing, "outside programs --> ");
		draw_topic(&drawing, i);
		end_line(&drawing);
	}
	for (unsigned i = 0; i < drawing.n_nodes; i++) {
		if (drawing.node_drawn[i])
			continue;
		draw_node(&drawing, i);
		end_line(&drawing);
	}
}

/* ---- a graph ---- */

/* A string of the DOT language; a line feed becomes a line break of the label. */
static void put_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		if (*text == '\n')
			fputs("\\n", out);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void put_vertex(FILE *out, const char *kind, const char *name, const char *shape, const char *label)
{
	char id[ADDRESS_TEXT_MAX + 64];
	snprintf(id, sizeof id, "%s %s", kind, name);
	fputc('\t', out);
	put_quoted(out, id);
	fprintf(out, " [shape=%s, margin=\"0.2,0.1\", label=", shape);
	put_quoted(out, label);
	fputs("];\n", out);
}

static void put_edge(FILE *out, const char *from_kind, const char *from, const char *to_kind, const char *to,
                     const char *label)
{
	char id[ADDRESS_TEXT_MAX + 64];
	fputc('\t', out);
	snprintf(id, sizeof id, "%s %s", from_kind, from);
	put_quoted(out, id);
	fputs(" -> ", out);
	snprintf(id, sizeof id, "%s %s", to_kind, to);
	put_quoted(out, id);
	if (label != NULL) {
		fputs(" [label=", out);
		put_quoted(out, label);
		fputc(']', out);
	}
	fputs(";\n", out);
}

static void graph_listener(const struct drawing *drawing, const struct plan_role *role)
{
	const struct plan_listener *listener = &drawing->plan->listener[role->listener];
	for (unsigned i = 0; i < listener->n_addresses; i++) {
		const char *address = drawing->plan->address[listener->first_address + i].text;
		char label[ADDRESS_TEXT_MAX + 64];
		snprintf(label, sizeof label, "%s %s%s%s", listener->protocol, address,
		         listener->format[0] == '\0' ? "" : "\n", listener->format);
		char id[ADDRESS_TEXT_MAX + 16];
		snprintf(id, sizeof id, "%s %s", listener->protocol, address);
		put_vertex(drawing->out, "listener", id, "plaintext", label);
		put_edge(drawing->out, "listener", id, "stage", role->section, NULL);
	}
}

static void graph_nodes(const struct drawing *drawing)
{
	for (unsigned i = 0; i < drawing->n_nodes; i++) {
		const struct node *node = &drawing->node[i];
		char label[SHM_NAME_MAX + 32];
		snprintf(label, sizeof label, "%s\n%u %s", node_name(node), node->n,
		         node->n == 1 ? "process" : "processes");
		put_vertex(drawing->out, "stage", node->role->section, "box", label);
		if (node->role->listener >= 0)
			graph_listener(drawing, node->role);
	}
}

static void graph_topic(const struct drawing *drawing, const struct plan_topic *topic)
{
	const char *name = topic->page.name;
	FILE *out = drawing->out;
	char label[SHM_NAME_MAX + 64], group[SHM_NAME_MAX];
	snprintf(label, sizeof label, "%s\n%u %s%s", name, topic->page.n_lanes,
	         topic->page.n_lanes == 1 ? "lane" : "lanes",
	         topic->n_required == 0 ? "\nnobody keeps it" : "");
	put_vertex(out, "topic", name, "cds", label);
	if (has_outside_lane(&topic->page)) {
		put_vertex(out, "outside", name, "plaintext", "outside programs");
		put_edge(out, "outside", name, "topic", name, NULL);
	}
	for (unsigned i = 0; i < drawing->n_nodes; i++) {
		const struct plan_role *role = drawing->node[i].role;
		if (plan_writes(topic, role->page.name))
			put_edge(out, "stage", role->section, "topic", name, NULL);
		if (plan_reads(topic, role->page.name))
			put_edge(out, "topic", name, "stage", role->section,
			         flow_group(role->stage, role->page.name, group));
	}
}

static void graph_queue(const struct drawing *drawing, const struct instance_queue *queue)
{
	FILE *out = drawing->out;
	char label[SHM_NAME_MAX + 64];
	snprintf(label, sizeof label, "%s\nqueue of %llu slots", queue->name,
	         (unsigned long long)queue->slots);
	put_vertex(out, "queue", queue->name, "box3d", label);
	for (unsigned i = 0; i < drawing->n_nodes; i++) {
		const struct plan_role *role = drawing->node[i].role;
		if (listed(role->stage->puts, queue->name))
			put_edge(out, "stage", role->section, "queue", queue->name, NULL);
		if (listed(role->stage->takes, queue->name))
			put_edge(out, "queue", queue->name, "stage", role->section, NULL);
	}
}

void plan_print_dot(const struct plan *plan, FILE *out)
{
	struct drawing drawing;
	drawing_init(&drawing, plan, out);
	fputs("digraph ", out);
	put_quoted(out, plan->instance);
	fputs(" {\n\trankdir=LR;\n", out);
	graph_nodes(&drawing);
	for (unsigned i = 0; i < plan->n_topics; i++)
		graph_topic(&drawing, &plan->topic[i]);
	for (unsigned i = 0; i < plan->n_queues; i++)
		graph_queue(&drawing, &plan->queue[i].page);
	fputs("}\n", out);
}
