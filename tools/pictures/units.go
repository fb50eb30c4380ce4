package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// show writes a value as a panel does: as the word that stands for it, or in its unit. The time is now, for what is told as an age.
func (f *field) show(value, now float64) string {
	for _, mapping := range f.Mappings {
		if word, mapped := mapping.Options[strconv.FormatFloat(value, 'f', -1, 64)]; mapped {
			return word.Text
		}
	}
	switch f.Unit {
	case "bytes":
		return scaled(value, 1024, []string{" B", " KiB", " MiB", " GiB"})
	case "s":
		return lasting(value)
	case "ops":
		return scaled(value, 1000, []string{" ops/s", "K ops/s"})
	case "reqps":
		return scaled(value, 1000, []string{" req/s", "K req/s"})
	case "dateTimeFromNow":
		return plural(int(max(1, math.Round((now-value/1000)/60))), "minute") + " ago"
	default:
		return scaled(value, 1000, []string{"", " K", " Mil"})
	}
}

// scaled writes a value in the largest unit of which it is at least one.
func scaled(value, base float64, units []string) string {
	i := 0
	for ; math.Abs(value) >= base && i < len(units)-1; i++ {
		value /= base
	}
	return number(value) + units[i]
}

// ticks divides an axis that begins at zero: how far it goes, and how many values stand at it.
func (f *field) ticks(highest float64, most int) (top float64, count int) {
	if highest <= 0 {
		return 1, 2
	}
	unit := 1.0
	for f.Unit == "bytes" && highest/unit >= 1024 {
		unit *= 1024
	}
	least := highest / unit / float64(most)
	step := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if factor*step >= least {
			step *= factor
			break
		}
	}
	intervals := math.Ceil(highest / unit / step)
	return intervals * step * unit, int(intervals) + 1
}

// number writes three digits at most.
func number(value float64) string {
	digits := 2
	switch {
	case math.Abs(value) >= 100:
		digits = 0
	case math.Abs(value) >= 10:
		digits = 1
	case math.Abs(value) < 0.1:
		digits = 3
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func lasting(seconds float64) string {
	switch {
	case seconds == 0:
		return "0 s"
	case seconds < 1:
		return number(seconds*1000) + " ms"
	case seconds < 120:
		return number(seconds) + " s"
	default:
		return number(seconds/60) + " min"
	}
}

// clock is a time of day.
func clock(unix float64) string {
	return time.Unix(int64(unix), 0).UTC().Format("15:04:05")
}

// shade is the color of a value.
func (f *field) shade(value float64) string {
	found := "green"
	for _, step := range f.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			found = step.Color
		}
	}
	return found
}

// plural counts things.
func plural(count int, what string) string {
	if count == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", count, what)
}
