/* Folders of shared memory: whose they must be, that links are not followed, and that what is held
 * stays what it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "shm/folder.h"
#include "tests/fixture/instance.h"

#define OTHER 65534u /* nobody: as good as any user who is not us */

static struct sandbox sandbox;
static struct shm_error error;

static int set_up(void **state)
{
	(void)state;
	return sandbox_make(&sandbox);
}

static int tear_down(void **state)
{
	(void)state;
	folder_release(sandbox.directory);
	(void)chmod(sandbox.root, 0700);
	sandbox_remove(&sandbox);
	return 0;
}

static void assert_refused(const char *why)
{
	int result = folder_hold(sandbox.directory, &error);
	if (result == 0 || strstr(error.text, why) == NULL)
		fail_msg("%d: no \"%s\" in: %s", result, why, error.text);
	assert_false(folder_in_place(sandbox.directory));
}

static void a_root_that_others_may_write_is_refused_unless_they_cannot_rename_in_it(void **state)
{
	(void)state;
	assert_int_equal(chmod(sandbox.root, 0777), 0);
	assert_refused("may be written by others");
	assert_int_equal(chmod(sandbox.root, 0720), 0);
	assert_refused("chmod go-w");
	assert_int_equal(chmod(sandbox.root, 01777), 0);
	assert_int_equal(folder_hold(sandbox.directory, &error), 0);
}

static void an_instance_that_others_may_write_is_refused(void **state)
{
	(void)state;
	assert_int_equal(chmod(sandbox.directory, 01777), 0);
	assert_refused("may be written by others");
}

static void a_root_of_another_user_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(sandbox.root, OTHER, OTHER), 0);
	assert_refused("belongs to user 65534");
	/* one who has both is only a user whom root looks at */
	assert_int_equal(chown(sandbox.directory, OTHER, OTHER), 0);
	assert_int_equal(folder_hold(sandbox.directory, &error), 0);
	assert_int_equal(chown(sandbox.root, 0, 0), 0);
}

static void links_are_not_followed(void **state)
{
	(void)state;
	char path[160], target[160], real[160];
	struct stat status;
	snprintf(target, sizeof target, "%s/target", sandbox.root);
	snprintf(path, sizeof path, "%s/file", sandbox.directory);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(folder_open(sandbox.directory, "file", O_RDWR | O_CREAT, 0600), -ELOOP);
	assert_int_equal(instance_hold(sandbox.directory, "file"), -ELOOP);
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(folder_stat(sandbox.directory, "file", &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	/* a segment is made under a temporary name: a link that waits there goes, what it points to
	 * stays */
	snprintf(path, sizeof path, "%s/.drops", sandbox.directory);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(segment_create(sandbox.directory, "drops", SEGMENT_DROPS, 7, 64, NULL, NULL, &error),
	                 0);
	assert_int_equal(access(target, F_OK), -1);
	/* the instance's folder, and the root */
	snprintf(real, sizeof real, "%s/real", sandbox.root);
	assert_int_equal(rename(sandbox.directory, real), 0);
	assert_int_equal(symlink("real", sandbox.directory), 0);
	assert_refused("symbolic links are not followed");
	assert_int_equal(folder_open(sandbox.directory, "drops", O_RDONLY, 0), -ENOTDIR);
	snprintf(path, sizeof path, "%s/link", sandbox.root);
	assert_int_equal(symlink(".", path), 0);
	snprintf(path, sizeof path, "%s/link/real", sandbox.root);
	assert_int_equal(folder_hold(path, &error), -ENOTDIR);
	assert_int_equal(folder_open(path, "drops", O_RDONLY, 0), -ENOTDIR);
}

static volatile sig_atomic_t interrupts;

static void interrupt(int number)
{
	(void)number;
	interrupts++;
	if (interrupts == 5)
		(void)setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
}

static void a_signal_does_not_end_the_making_of_a_segment(void **state)
{
	(void)state;
	const struct itimerval often = {{.tv_usec = 1000}, {.tv_usec = 1000}};
	struct sigaction before, catch = {.sa_handler = interrupt};
	interrupts = 0;
	assert_int_equal(sigaction(SIGALRM, &catch, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	while (interrupts < 5) {
		int result = segment_create(sandbox.directory, "drops", SEGMENT_DROPS, 7, 32u << 20, NULL,
		                            NULL, &error);
		if (result != 0)
			fail_msg("%d: %s", result, error.text);
		assert_int_equal(folder_unlink(sandbox.directory, "drops"), 0);
	}
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	alarm(60);
}

static void what_is_held_stays_what_it_was(void **state)
{
	(void)state;
	char real[160];
	struct stat status;
	assert_int_equal(folder_hold(sandbox.directory, &error), 0);
	assert_true(folder_in_place(sandbox.directory));
	snprintf(real, sizeof real, "%s/real", sandbox.root);
	assert_int_equal(rename(sandbox.directory, real), 0);
	assert_int_equal(mkdir(sandbox.directory, 0700), 0);
	assert_false(folder_in_place(sandbox.directory));
	int fd = folder_open(sandbox.directory, "file", O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(folder_stat(real, "file", &status), 0);
	/* a folder in it is the held one's too */
	char next[160];
	snprintf(next, sizeof next, "%s/.next", sandbox.directory);
	assert_int_equal(folder_make(next), 0);
	assert_int_equal(folder_rename(sandbox.directory, "file", next, "moved"), 0);
	assert_int_equal(folder_stat(next, "moved", &status), 0);
	assert_int_equal(folder_unlink(next, "moved"), 0);
	assert_int_equal(folder_remove(next), 0);
	/* whoever comes now finds the new one, and is the first who does */
	assert_int_equal(folder_hold(sandbox.directory, &error), 0);
	assert_true(folder_in_place(sandbox.directory));
	folder_release(sandbox.directory);
	assert_true(folder_in_place(sandbox.directory));
	folder_release(sandbox.directory);
	assert_false(folder_in_place(sandbox.directory));
}

static void assert_file(const char *folder, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	struct stat status;
	assert_int_equal(folder_stat(folder, name, &status), 0);
	assert_int_equal(status.st_uid, uid);
	assert_int_equal(status.st_gid, gid);
	assert_int_equal(status.st_mode & 07777, mode);
}

static void make_file(const char *name, mode_t mode)
{
	int fd = folder_open(sandbox.directory, name, O_RDWR | O_CREAT, mode);
	assert_true(fd >= 0);
	close(fd);
}

static void a_file_has_the_rights_that_its_folder_grants_whatever_the_umask(void **state)
{
	(void)state;
	mode_t before = umask(0077);
	make_file("alone", 0640);
	assert_int_equal(chmod(sandbox.directory, 0750), 0);
	make_file("shared", 0640);
	make_file("secret", 0600);
	make_file("alone", 0640); /* it is there: it stays what it is */
	umask(before);
	assert_file(sandbox.directory, "alone", geteuid(), getegid(), 0600);
	assert_file(sandbox.directory, "shared", geteuid(), getegid(), 0640);
	assert_file(sandbox.directory, "secret", geteuid(), getegid(), 0600);
}

static void what_root_makes_in_the_folder_of_a_user_is_the_users(void **state)
{
	(void)state;
	char next[160];
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(sandbox.directory, OTHER, OTHER), 0);
	assert_int_equal(chmod(sandbox.directory, 0750), 0);
	assert_int_equal(folder_hold(sandbox.directory, &error), 0);
	make_file("file", 0640);
	assert_file(sandbox.directory, "file", OTHER, OTHER, 0640);
	snprintf(next, sizeof next, "%s/.next", sandbox.directory);
	assert_int_equal(folder_make(next), 0);
	assert_file(sandbox.directory, ".next", OTHER, OTHER, 0750);
	int fd = folder_open(next, "file", O_RDWR | O_CREAT | O_EXCL, 0640);
	assert_true(fd >= 0);
	close(fd);
	assert_file(next, "file", OTHER, OTHER, 0640);
	assert_int_equal(folder_open(next, "file", O_RDWR | O_CREAT | O_EXCL, 0640), -EEXIST);
}

static void a_folder_that_is_made_like_another_has_its_owner_and_mode(void **state)
{
	(void)state;
	char beside[160];
	uid_t user = geteuid() == 0 ? OTHER : geteuid();
	gid_t group = geteuid() == 0 ? OTHER : getegid();
	snprintf(beside, sizeof beside, "%s/.test.secrets", sandbox.root);
	assert_int_equal(folder_make_like(beside, sandbox.directory), 0);
	assert_file(beside, ".", geteuid(), getegid(), 0700);
	assert_int_equal(folder_make_like(beside, sandbox.directory), -EEXIST);
	assert_int_equal(folder_remove(beside), 0);
	assert_int_equal(chown(sandbox.directory, user, group), 0);
	assert_int_equal(chmod(sandbox.directory, 0750), 0);
	mode_t before = umask(0077);
	assert_int_equal(folder_make_like(beside, sandbox.directory), 0);
	umask(before);
	assert_file(beside, ".", user, group, 0750);
	assert_int_equal(folder_remove(beside), 0);
	assert_int_equal(folder_remove(sandbox.directory), 0);
	assert_int_equal(folder_make_like(beside, sandbox.directory), -ENOENT);
}

static void a_missing_folder_is_missing(void **state)
{
	(void)state;
	struct instance instance;
	assert_int_equal(rmdir(sandbox.directory), 0);
	assert_int_equal(folder_hold(sandbox.directory, &error), -ENOENT);
	assert_int_equal(folder_open(sandbox.directory, "file", O_RDWR | O_CREAT, 0600), -ENOENT);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), -ENOENT);
	assert_non_null(strstr(error.text, "is not running"));
}

static void an_instance_whose_root_another_user_owns_is_not_attached_to(void **state)
{
	(void)state;
	struct instance instance;
	if (geteuid() != 0)
		skip();
	assert_int_equal(instance_make(sandbox.directory, NULL, 0, &error), 0);
	assert_int_equal(chown(sandbox.root, OTHER, OTHER), 0);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), -EPERM);
	assert_int_equal(chown(sandbox.root, 0, 0), 0);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	instance_detach(&instance);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        T(a_root_that_others_may_write_is_refused_unless_they_cannot_rename_in_it),
	        T(an_instance_that_others_may_write_is_refused),
	        T(a_root_of_another_user_is_refused),
	        T(links_are_not_followed),
	        T(a_signal_does_not_end_the_making_of_a_segment),
	        T(what_is_held_stays_what_it_was),
	        T(a_file_has_the_rights_that_its_folder_grants_whatever_the_umask),
	        T(what_root_makes_in_the_folder_of_a_user_is_the_users),
	        T(a_folder_that_is_made_like_another_has_its_owner_and_mode),
	        T(a_missing_folder_is_missing),
	        T(an_instance_whose_root_another_user_owns_is_not_attached_to),
	};
	alarm(60);
	return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
