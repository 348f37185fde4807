/* mmdb-tool FOLDER N: writes country databases that tell which they are: FOLDER/0.mmdb to FOLDER/<N
 * - 1>.mmdb, for the system tests.
 *
 *     11.i.0.0/16 is in the country whose letters are version (A to Z, and from A again) and i (the same): all of it from one file
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fixture/mmdb_make.h"

#define NETWORKS 256u
#define EPOCH    1700000000u /* of version 0; each is a day younger than the one before */

static int write_version(const char *folder, unsigned version)
{
	struct mmdb_make make;
	size_t length;
	char path[512];
	mmdb_init(&make, 28, 6, "Test-Version");
	make.build_epoch = EPOCH + 86400ull * version;
	for (unsigned i = 0; i < NETWORKS; i++) {
		char code[3] = {(char)('A' + version % 26), (char)('A' + i % 26)};
		uint32_t record = mmdb_map(&make, 1);
		mmdb_text(&make, "country_code"), mmdb_text(&make, code);
		mmdb_add4(&make, 0x0b000000 + (i << 16), 16, record);
	}
	unsigned char *bytes = mmdb_finish(&make, &length);
	snprintf(path, sizeof path, "%s/%u.mmdb", folder, version);
	FILE *file = fopen(path, "wbe");
	bool written = file != NULL && fwrite(bytes, 1, length, file) == length;
	if (file != NULL && fclose(file) != 0)
		written = false;
	free(bytes);
	if (!written)
		perror(path);
	return written ? 0 : 1;
}

int main(int argc, char **argv)
{
	unsigned n = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	if (n == 0) {
		fprintf(stderr, "usage: mmdb-tool FOLDER N\n");
		return 2;
	}
	for (unsigned version = 0; version < n; version++)
		if (write_version(argv[1], version) != 0)
			return 1;
	return 0;
}
