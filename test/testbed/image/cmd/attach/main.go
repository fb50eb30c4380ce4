// Command attach adds files about an image to the OCI layout that holds it, for each of its platforms.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	err := command().ExecuteContext(ctx)
	cancel()
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var dir, ref, mediaType string
	cmd := &cobra.Command{
		Use: "attach --layout DIR --ref IMAGE --type MEDIATYPE OS/ARCH=FILE...", Short: "Attach files to the images in an OCI layout",
		Args: cobra.MinimumNArgs(1), SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				platform, file, found := strings.Cut(arg, "=")
				if !found {
					return fmt.Errorf("reading argument %q: want OS/ARCH=FILE", arg)
				}
				content, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("reading what to attach: %w", err)
				}
				a := image.Attachment{Name: filepath.Base(file), MediaType: mediaType, Content: content}
				digest, err := image.Attach(cmd.Context(), dir, ref, platform, a)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), platform, digest)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "layout", "", "folder with the OCI layout")
	cmd.Flags().StringVar(&ref, "ref", "", "name of the image in it")
	cmd.Flags().StringVar(&mediaType, "type", "", "media type of the files")
	for _, required := range []string{"layout", "ref", "type"} {
		cobra.CheckErr(cmd.MarkFlagRequired(required))
	}
	return cmd
}
