/* The attack alone, for the Makefile's `all`. */
#include "attack.h"

int main(void)
{
    attack();
    return 0;
}
