/* SPDX-License-Identifier: MIT
 *
 * main: the program is process/cli; what it is linked with is known here, above all floors.
 */
#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ares.h>
#include <luajit.h>
#include <openssl/crypto.h>
#include <pcre2.h>
#include <uv.h>

#include "process/cli.h"

int main(int argc, char **argv)
{
    char libraries[512], pcre2[64] = "";
    (void)pcre2_config(PCRE2_CONFIG_VERSION, pcre2); /* 24 bytes or so; left empty on failure */
    snprintf(libraries, sizeof libraries, "libuv %s\n%s\nPCRE2 %s\n%s\nc-ares %s\n",
             uv_version_string(), LUAJIT_VERSION, pcre2, OpenSSL_version(OPENSSL_VERSION),
             ares_version(NULL));
    return rp_cli_run(argc, argv, libraries);
}
