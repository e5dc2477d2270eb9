/* Backend-Server C. */
#include "backend.h"

int main(void)
{
    int udp = boot('C', PORT_C);
    backend(udp, 'C');
}
