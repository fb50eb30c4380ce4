package sandbox

import (
	"strings"
	"testing"
)

func TestControlGroupsOfOthersAreOutOfReach(t *testing.T) {
	for _, cluster := range []string{"", ".", "..", "/", "../x", "a/b", "a/../..", " ", "-", strings.Repeat("a", 64)} {
		if name, err := CgroupName(cluster); err == nil {
			t.Errorf("%q became the control group %q", cluster, name)
		}
		if found, err := cgroups(cluster); err == nil {
			t.Errorf("%q has the control groups %q", cluster, found)
		}
	}
	if name, err := CgroupName("default-0123abcd"); err != nil || name != cgroupPrefix+"default-0123abcd" {
		t.Errorf("got %q, %v", name, err)
	}
}
