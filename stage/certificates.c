#include "stage/certificates.h"

#include <errno.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <unistd.h>

int certificates_check(const char *path, struct shm_error *error)
{
	if (path[0] == '\0')
		return 0;
	if (access(path, R_OK) != 0) {
		int result = -errno;
		shm_explain(error, "%s: %s", path, strerror(-result));
		return result;
	}
	X509_STORE *store = X509_STORE_new();
	bool good = store != NULL && X509_STORE_load_file(store, path) == 1;
	X509_STORE_free(store);
	if (!good)
		shm_explain(error, "%s: there is no certificate in it; allowed: certificates in PEM", path);
	return good ? 0 : -EINVAL;
}
