/* Text that does something to whoever shows it as it is: terminal, browser, log. */
#include <stdio.h>

static void attack(void)
{
    static const char text[] =
        "\033[2J\033[H\033[31mred\033[0m \033]0;title\007 \033]52;c;Y2F1Z2h0\007 \033[6n\n"
        "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">\n"
        "</pre></td></table>&lt;&amp;\"'`${{7*7}}{% raw %}\n"
        "one\rtwo\b\b\bthree\v\f\x9b" "31m \xff\xfe \xe2\x80\xae" "right to left\n"
        "a zero \0 inside\n";
    fwrite(text, 1, sizeof text - 1, stdout);
    fflush(stdout);
}
