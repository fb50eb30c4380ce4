package controllers

import (
	"testing"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func TestUninstallDeadline(t *testing.T) {
	deleted := time.Now()
	for name, tt := range map[string]struct{ tried, limit, want time.Duration }{
		"tried from the beginning":                     {0, 30 * time.Minute, 30 * time.Minute},
		"tried late, with time left":                   {10 * time.Minute, 30 * time.Minute, 30 * time.Minute},
		"tried so late that hardly any time was left":  {30*time.Minute - time.Second, 30 * time.Minute, 31*time.Minute - time.Second},
		"tried after the time was over":                {24 * time.Hour, 30 * time.Minute, 24*time.Hour + time.Minute},
		"tried late, with less time than the least":    {time.Hour, time.Second, time.Hour + time.Second},
		"given less time after it was tried for hours": {0, time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if got := uninstallDeadline(deleted, deleted.Add(tt.tried), tt.limit).Sub(deleted); got != tt.want {
				t.Errorf("the time is over after %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTried(t *testing.T) {
	one, other := &v1.FluxInstance{}, &v1.FluxInstance{}
	one.UID, other.UID = "1", "2"
	var first tried
	began := first.by(one)
	if again := first.by(one); !again.Equal(began) {
		t.Error("another attempt should not begin the time anew")
	}
	if next := first.by(other); next.Before(began) || first.instance != other.UID {
		t.Error("another instance has its own time")
	}
}
