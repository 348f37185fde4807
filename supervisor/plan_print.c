#include "supervisor/plan.h"

#include "shm/drops.h"
#include "shm/queue.h"
#include "stage/errand.h"

void plan_each_segment(const struct plan *plan,
                       void (*each)(void *argument, const char *name, uint64_t file_bytes), void *argument)
{
	char name[SEGMENT_NAME_MAX];
	each(argument, "instance", segment_file_bytes(sizeof(struct instance_page)));
	each(argument, "drops", segment_file_bytes(sizeof(struct drops_page)));
	for (unsigned i = 0; i < plan->n_topics; i++) {
		const struct instance_topic *topic = &plan->topic[i].page;
		for (unsigned lane = 0; lane < topic->n_lanes; lane++)
			each(argument, instance_lane_name(name, topic->name, lane),
			     stream_file_bytes(topic->size_bytes));
		for (unsigned group = 0; group < STREAM_GROUPS_MAX; group++)
			each(argument, instance_group_name(name, topic->name, group),
			     segment_file_bytes(sizeof(struct stream_group)));
	}
	for (unsigned i = 0; i < plan->n_queues; i++) {
		const struct instance_queue *queue = &plan->queue[i].page;
		each(argument, instance_queue_name(name, queue->name),
		     queue_file_bytes(queue->slots, queue->slot_bytes));
	}
	for (unsigned i = 0; i < plan->n_roles; i++) {
		const struct plan_role *role = &plan->role[i];
		each(argument, instance_stage_name(name, role->page.name),
		     segment_file_bytes(sizeof(struct control)));
		if (role->private_bytes != 0)
			each(argument, instance_private_name(name, role->page.name),
			     segment_file_bytes(role->private_bytes));
		if (role->stage->errands != NULL)
			each(argument, instance_errand_name(name, role->page.name),
			     segment_file_bytes(sizeof(struct errand_page)));
	}
}

static void add_bytes(void *argument, const char *name, uint64_t file_bytes)
{
	(void)name;
	*(uint64_t *)argument += file_bytes;
}

uint64_t plan_bytes(const struct plan *plan)
{
	uint64_t sum = 0;
	plan_each_segment(plan, add_bytes, &sum);
	return sum;
}

char *plan_size_text(char *buffer, uint64_t bytes)
{
	static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	uint64_t n = bytes;
	unsigned i = 0;
	for (; n != 0 && n % 1024 == 0 && i < 4; i++)
		n /= 1024;
	snprintf(buffer, 32, "%llu %s", (unsigned long long)n, unit[i]);
	return buffer;
}

static void print_segment(void *argument, const char *name, uint64_t file_bytes)
{
	fprintf(argument, "  %14llu  %s\n", (unsigned long long)file_bytes, name);
}

static void print_topic(const struct plan_topic *topic, FILE *out)
{
	char size[32];
	fprintf(out, "topic %s: %u %s of %s, when full: %s", topic->page.name, topic->page.n_lanes,
	        topic->page.n_lanes == 1 ? "lane" : "lanes", plan_size_text(size, topic->page.size_bytes),
	        topic->page.when_full == WHEN_FULL_DROP ? "drop" : "refuse");
	for (unsigned i = 0; i < topic->n_required; i++)
		fprintf(out, "%s%s", i == 0 ? ", required group: " : ", ", topic->required[i]);
	if (topic->n_required == 0)
		fputs("; " PLAN_NOBODY_KEEPS, out);
	fputc('\n', out);
	for (unsigned lane = 0; lane < topic->page.n_lanes; lane++)
		fprintf(out, "  lane %u: %s\n", lane,
		        topic->page.lane_role[lane][0] == '\0' ? "(outside programs)"
		                                               : topic->page.lane_role[lane]);
}

void plan_print_queue(const struct plan_queue *queue, FILE *out)
{
	char size[32];
	fprintf(out, "queue %s: %llu slots of %s\n", queue->page.name, (unsigned long long)queue->page.slots,
	        plan_size_text(size, queue->page.slot_bytes));
}

void plan_print_listener(const struct plan_listener *listener, const char *address, FILE *out)
{
	fprintf(out, "%s %s%s%s -> %s", listener->protocol, address, listener->format[0] == '\0' ? "" : " ",
	        listener->format, listener->writes);
}

static void print_listener(const struct plan *plan, const struct plan_listener *listener, FILE *out)
{
	char size[32];
	for (unsigned i = 0; i < listener->n_addresses; i++) {
		plan_print_listener(listener, plan->address[listener->first_address + i].text, out);
		fputc('\n', out);
	}
	fprintf(out, "  %u %s, ", listener->processes, listener->processes == 1 ? "process" : "processes");
	if (listener->sockets == PLAN_DATAGRAMS)
		fprintf(out, "receive buffer %s for each socket\n",
		        plan_size_text(size, listener->receive_buffer_bytes));
	else
		fprintf(out, "up to %u connections wait at each socket\n", listener->backlog);
	if (listener->interface[0] != '\0')
		fprintf(out, "  packets of %s, queues %s, %u frames of %u bytes for each process\n",
		        listener->interface, listener->queues, listener->frames, listener->frame_bytes);
}

void plan_print(const struct plan *plan, FILE *out)
{
	fprintf(out, "instance %s in %s\n", plan->instance, plan->directory);
	for (unsigned i = 0; i < plan->n_listeners; i++)
		print_listener(plan, &plan->listener[i], out);
	for (unsigned i = 0; i < plan->n_topics; i++)
		print_topic(&plan->topic[i], out);
	for (unsigned i = 0; i < plan->n_queues; i++)
		plan_print_queue(&plan->queue[i], out);
	for (unsigned i = 0; i < plan->n_roles; i++)
		fprintf(out, "stage %s: program %s\n", plan->role[i].page.name, plan->role[i].page.program);
	fprintf(out, "shared memory, bytes:\n");
	plan_each_segment(plan, print_segment, out);
	fprintf(out, "  %14llu  in all\n", (unsigned long long)plan_bytes(plan));
}
