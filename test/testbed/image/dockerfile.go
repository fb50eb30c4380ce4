package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
)

// Dockerfile is what the last stage of a Dockerfile says of its image, so that an image can be made like it without a container engine.
type Dockerfile struct {
	// Entrypoint and Cmd are the program and its default arguments.
	Entrypoint, Cmd []string
	// User is the user of the process.
	User string
	// Env is a list of NAME=value.
	Env []string
	// Labels are the labels.
	Labels map[string]string
	// Copies are the COPY instructions of all stages, in their order.
	Copies []Copy

	args map[string]string
}

// Copy is a COPY instruction.
type Copy struct {
	// Stage is the stage that files are copied from; empty where they come from the build's context.
	Stage string
	// Sources are what is copied.
	Sources []string
	// Target is where it goes.
	Target string
}

// ReadDockerfile reads a Dockerfile. Build arguments win over the defaults of its ARG instructions; a variable that is none of them is an error.
// Instructions of earlier stages count for nothing but ARG, which must have the same default everywhere, and COPY.
func ReadDockerfile(text string, args map[string]string) (*Dockerfile, error) {
	d := &Dockerfile{Labels: map[string]string{}, args: map[string]string{}}
	maps.Copy(d.args, args)
	for number, line := range logicalLines(text) {
		instruction, rest, _ := strings.Cut(line, " ")
		if err := d.read(strings.ToUpper(instruction), strings.TrimSpace(rest)); err != nil {
			return nil, fmt.Errorf("reading instruction %d of the Dockerfile, %s: %w", number+1, instruction, err)
		}
	}
	return d, nil
}

// logicalLines joins continued lines and drops comments and empty lines.
func logicalLines(text string) []string {
	var lines []string
	pending := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if begun, continued := strings.CutSuffix(line, `\`); continued {
			pending += strings.TrimSpace(begun) + " "
			continue
		}
		lines = append(lines, pending+line)
		pending = ""
	}
	return lines
}

func (d *Dockerfile) read(instruction, rest string) error {
	switch instruction {
	case "FROM":
		*d = Dockerfile{Labels: map[string]string{}, Copies: d.Copies, args: d.args}
		return nil
	case "ARG":
		return d.addArgument(rest)
	case "LABEL":
		return d.addPairs(rest, func(name, value string) { d.Labels[name] = value })
	case "ENV":
		return d.addPairs(rest, func(name, value string) { d.Env = append(d.Env, name+"="+value) })
	case "USER":
		value, err := d.expand(rest)
		d.User = value
		return err
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(rest), &d.Entrypoint)
	case "CMD":
		return json.Unmarshal([]byte(rest), &d.Cmd)
	case "COPY":
		return d.addCopy(strings.Fields(rest))
	case "RUN", "WORKDIR":
		return nil // of the stages that compile; what they leave is not known here
	default:
		return errors.New("it is not known here")
	}
}

func (d *Dockerfile) addArgument(rest string) error {
	name, value, _ := strings.Cut(rest, "=")
	if _, known := d.args[name]; known {
		return nil
	}
	d.args[name] = value
	return nil
}

// addPairs reads name=value pairs, whose values may be quoted.
func (d *Dockerfile) addPairs(rest string, add func(name, value string)) error {
	for rest != "" {
		name, value, found := strings.Cut(rest, "=")
		if !found {
			return fmt.Errorf("%q is not name=value", rest)
		}
		value, rest = cutValue(value)
		expanded, err := d.expand(value)
		if err != nil {
			return err
		}
		add(name, expanded)
	}
	return nil
}

// cutValue takes a value, quoted or not, off the front of a text.
func cutValue(text string) (value, rest string) {
	if quoted, err := strconv.QuotedPrefix(text); err == nil {
		if value, err = strconv.Unquote(quoted); err == nil {
			return value, strings.TrimSpace(text[len(quoted):])
		}
	}
	value, rest, _ = strings.Cut(text, " ")
	return value, strings.TrimSpace(rest)
}

func (d *Dockerfile) expand(text string) (string, error) {
	var unknown error
	expanded := os.Expand(text, func(name string) string {
		value, known := d.args[name]
		if !known {
			unknown = fmt.Errorf("the variable %q is no build argument", name)
		}
		return value
	})
	return expanded, unknown
}

func (d *Dockerfile) addCopy(words []string) error {
	var c Copy
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		if stage, from := strings.CutPrefix(words[0], "--from="); from {
			c.Stage = stage
		}
		words = words[1:]
	}
	if len(words) < 2 {
		return errors.New("want sources and a target")
	}
	c.Sources, c.Target = words[:len(words)-1], words[len(words)-1]
	d.Copies = append(d.Copies, c)
	return nil
}
