#!/bin/sh
# What aria2 and transmission call when a download is complete: their output is read line by line, and may
# have stopped within a line.
printf '\ncomplete\n'
