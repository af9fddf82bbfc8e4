package jinja

import (
	"fmt"
	"strings"
	"time"
)

// strftime formats as C's strftime in the C locale.
func (r *run) strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		pad := true
		if format[i] == '-' && i+1 < len(format) { // glibc: no padding
			pad = false
			i++
		}
		number := func(width, v int) {
			if !pad {
				width = 1
			}
			fmt.Fprintf(&b, "%0*d", width, v)
		}
		blank := func(v int) {
			if pad {
				fmt.Fprintf(&b, "%2d", v)
			} else {
				fmt.Fprint(&b, v)
			}
		}
		switch format[i] {
		case 'a':
			b.WriteString(t.Format("Mon"))
		case 'A':
			b.WriteString(t.Format("Monday"))
		case 'b', 'h':
			b.WriteString(t.Format("Jan"))
		case 'B':
			b.WriteString(t.Format("January"))
		case 'c':
			b.WriteString(t.Format("Mon Jan _2 15:04:05 2006"))
		case 'C':
			number(2, t.Year()/100)
		case 'd':
			number(2, t.Day())
		case 'D', 'x':
			b.WriteString(t.Format("01/02/06"))
		case 'e':
			blank(t.Day())
		case 'f':
			fmt.Fprintf(&b, "%06d", t.Nanosecond()/1000)
		case 'F':
			b.WriteString(t.Format("2006-01-02"))
		case 'H':
			number(2, t.Hour())
		case 'I':
			number(2, (t.Hour()+11)%12+1)
		case 'j':
			number(3, t.YearDay())
		case 'k':
			blank(t.Hour())
		case 'l':
			blank((t.Hour()+11)%12 + 1)
		case 'm':
			number(2, int(t.Month()))
		case 'M':
			number(2, t.Minute())
		case 'n':
			b.WriteByte('\n')
		case 'p':
			b.WriteString(t.Format("PM"))
		case 'r':
			b.WriteString(t.Format("03:04:05 PM"))
		case 'R':
			b.WriteString(t.Format("15:04"))
		case 's':
			fmt.Fprint(&b, t.Unix())
		case 'S':
			number(2, t.Second())
		case 't':
			b.WriteByte('\t')
		case 'T', 'X':
			b.WriteString(t.Format("15:04:05"))
		case 'u':
			fmt.Fprint(&b, (int(t.Weekday())+6)%7+1)
		case 'w':
			fmt.Fprint(&b, int(t.Weekday()))
		case 'y':
			number(2, t.Year()%100)
		case 'Y':
			fmt.Fprint(&b, t.Year())
		case 'G', 'V':
			year, week := t.ISOWeek()
			if format[i] == 'G' {
				fmt.Fprint(&b, year)
			} else {
				number(2, week)
			}
		case 'U':
			number(2, (t.YearDay()+6-int(t.Weekday()))/7)
		case 'W':
			number(2, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7)
		case 'z', 'Z': // a naive datetime has no zone
		case '%':
			b.WriteByte('%')
		default:
			b.WriteByte('%')
			b.WriteByte(format[i])
		}
		if b.Len() > maxOutput {
			r.fail("strftime_now: the format is too long")
		}
	}
	r.made(b.Len())
	return b.String()
}
